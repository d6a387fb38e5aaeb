// From logits to the next character; docs/reference/engine.md defines it to the bit.
#pragma once

#include <cstdint>
#include <vector>

#include "common/buffer.h"
#include "engine/kernels.h"

namespace charloom {

struct Sampling {
    float inverse_temperature = 1.44269504f;  // log2(e) / temperature; 0: always the most likely id
    int top_k = 0;                            // 0: all
    double top_p = 1.0;                       // 1: all
    double min_p = 0.0;                       // 0: all
    float repetition_penalty = 1.0f;          // 1: none
    int repetition_window = 0;                // how many of the last ids it applies to
    float presence_penalty = 0.0f;            // 0: none
    float frequency_penalty = 0.0f;           // 0: none
    const float* bias = nullptr;              // (V): added to the logits, or null
};

// The previous output of a text, as far as sampling depends on it.
struct SamplingHistory {
    const int32_t* recent;  // the last `Sampling::repetition_window` ids; negative entries are empty
    const int32_t* counts;  // (V): how often each id was drawn for this text; null without a penalty that uses it
};

// The first word of Philox 4x64-10 for the counter (position + 1, 0, 0, 0) and the key (seed, 0).
uint64_t random_word(uint64_t seed, uint64_t position);

class Sampler {
public:
    Sampler(const Kernels& kernels, int vocabulary);

    // Return the next id.
    int draw(const float* logits, const Sampling& sampling, const SamplingHistory& history, uint64_t word);

private:
    void penalize_recent(const int32_t* recent, int window, float penalty);
    void penalize_counts(const int32_t* counts, float presence, float frequency);
    void compute_weights(float inverse_temperature);
    void filter(const Sampling& sampling);
    int pick(uint64_t word) const;

    const Kernels& kernels_;
    int vocabulary_;
    std::vector<float> logits_, powers_;
    std::vector<uint64_t> weights_;
    std::vector<int32_t> order_;
};

// log softmax(logits)[id], in float64.
double log_probability(const float* logits, int vocabulary, int id);

}  // namespace charloom
