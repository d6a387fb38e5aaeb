// The loops over characters: forward over given ones, and generation of new ones.
#pragma once

#include "engine/network.h"
#include "engine/sampling.h"

namespace charloom {

// Run the network over ids (B, T) and update the state (L, S, B, H). Outputs may be null: logits (B, T, V) or, if
// `last`, (B, 1, V); gates (B, T, L, G, H); states (B, T, L, S, H).
struct ForwardRequest {
    const int32_t* ids;
    int batch, length;
    float* state;
    float* logits;
    bool last;
    float* gates;
    float* states;
};
void forward(const Network& network, const ForwardRequest& request, int threads);

// Sample ids (B, T), feeding each back; updates state and logits (B, V). `recent` (B, recent_size), the last ids of
// each text, oldest first, and `counts` (B, V), how often each id was drawn for texts with penalties (or null), are
// updated too. Each text has its own seed, its own number of characters drawn before, and its own sampling options.
// log_probabilities (B, T) may be null.
struct GenerationRequest {
    int32_t* ids;
    int batch, length;
    float* state;
    float* logits;
    const uint64_t* seeds;
    const uint64_t* positions;
    int32_t* recent;
    int recent_size;
    int32_t* counts;
    double* log_probabilities;
    const Sampling* samplings;
};
void generate(const Network& network, const GenerationRequest& request, int threads);

}  // namespace charloom
