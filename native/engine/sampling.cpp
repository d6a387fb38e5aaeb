#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace charloom {

constexpr float kMaxWeight = 1099511627776.0f;  // 2^40: the weight of the most likely character

struct Product128 {
    uint64_t high, low;
};

static Product128 product(uint64_t a, uint64_t b) {
    const uint64_t a0 = a & 0xFFFFFFFF, a1 = a >> 32, b0 = b & 0xFFFFFFFF, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
    const uint64_t other = a0 * b1 + (middle & 0xFFFFFFFF);
    return {a1 * b1 + (middle >> 32) + (other >> 32), a * b};
}

uint64_t random_word(uint64_t seed, uint64_t position) {
    uint64_t x0 = position + 1, x1 = 0, x2 = 0, x3 = 0, k0 = seed, k1 = 0;
    for (int round = 0; round < 10; ++round) {
        const Product128 p = product(0xD2E7470EE14C6C93, x0), q = product(0xCA5A826395121157, x2);
        x0 = q.high ^ x1 ^ k0;
        x1 = q.low;
        x2 = p.high ^ x3 ^ k1;
        x3 = p.low;
        k0 += 0x9E3779B97F4A7C15;
        k1 += 0xBB67AE8584CAA73B;
    }
    return x0;
}

Sampler::Sampler(const Kernels& kernels, int vocabulary)
    : kernels_(kernels), vocabulary_(vocabulary), logits_(vocabulary), powers_(vocabulary), weights_(vocabulary) {}

int Sampler::draw(const float* logits, const Sampling& sampling, const SamplingHistory& history, uint64_t word) {
    std::copy_n(logits, vocabulary_, logits_.begin());
    if (sampling.bias)
        for (int id = 0; id < vocabulary_; ++id) logits_[id] += sampling.bias[id];
    if (sampling.repetition_penalty != 1.0f)
        penalize_recent(history.recent, sampling.repetition_window, sampling.repetition_penalty);
    if (history.counts) penalize_counts(history.counts, sampling.presence_penalty, sampling.frequency_penalty);
    if (sampling.inverse_temperature == 0.0f)
        return static_cast<int>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
    compute_weights(sampling.inverse_temperature);
    filter(sampling);
    return pick(word);
}

void Sampler::penalize_counts(const int32_t* counts, float presence, float frequency) {
    for (int id = 0; id < vocabulary_; ++id)
        if (counts[id]) logits_[id] -= presence + frequency * static_cast<float>(counts[id]);
}

void Sampler::penalize_recent(const int32_t* recent, int window, float penalty) {
    for (int i = 0; i < window; ++i) {
        if (recent[i] < 0 || std::find(recent, recent + i, recent[i]) != recent + i) continue;
        float& logit = logits_[recent[i]];
        logit = logit > 0.0f ? logit / penalty : logit * penalty;
    }
}

void Sampler::compute_weights(float inverse_temperature) {
    const float highest = *std::max_element(logits_.begin(), logits_.end());
    kernels_.powers(logits_.data(), highest, inverse_temperature, powers_.data(), vocabulary_);
    for (int id = 0; id < vocabulary_; ++id)
        weights_[id] = static_cast<uint64_t>(static_cast<int64_t>(powers_[id] * kMaxWeight));
}

void Sampler::filter(const Sampling& sampling) {
    const bool ranked = (sampling.top_k > 0 && sampling.top_k < vocabulary_) || sampling.top_p < 1.0;
    if (ranked) {
        order_.resize(vocabulary_);
        std::iota(order_.begin(), order_.end(), 0);
        size_t candidates = sampling.top_k > 0 ? std::min(sampling.top_k, vocabulary_) : vocabulary_;
        const auto before = [this](int32_t a, int32_t b) {
            return weights_[a] != weights_[b] ? weights_[a] > weights_[b] : a < b;
        };
        if (candidates < order_.size()) {
            std::nth_element(order_.begin(), order_.begin() + candidates, order_.end(), before);
            for (size_t i = candidates; i < order_.size(); ++i) weights_[order_[i]] = 0;
        }
        if (sampling.top_p < 1.0) {
            uint64_t total = 0, sum = 0;
            for (size_t i = 0; i < candidates; ++i) total += weights_[order_[i]];
            const double required = sampling.top_p * static_cast<double>(total);
            const auto after = [&](int32_t a, int32_t b) { return before(b, a); };
            const auto end = order_.begin() + candidates;
            // a heap yields its largest elements without sorting the rest
            std::make_heap(order_.begin(), end, after);
            auto rest = end;
            while (rest != order_.begin() && (rest == end || static_cast<double>(sum) < required)) {
                std::pop_heap(order_.begin(), rest, after);
                sum += weights_[*--rest];
            }
            for (auto i = order_.begin(); i != rest; ++i) weights_[*i] = 0;
        }
    }
    if (sampling.min_p > 0.0)
        for (uint64_t& weight : weights_)
            if (static_cast<double>(weight) < sampling.min_p * kMaxWeight) weight = 0;
}

int Sampler::pick(uint64_t word) const {
    const uint64_t total = std::accumulate(weights_.begin(), weights_.end(), uint64_t{0});
    const uint64_t target = product(word, total).high;
    uint64_t sum = weights_[0];
    int id = 0;
    while (sum <= target && id + 1 < vocabulary_) sum += weights_[++id];
    return id;
}

double log_probability(const float* logits, int vocabulary, int id) {
    const double highest = *std::max_element(logits, logits + vocabulary);
    double total = 0.0;
    for (int i = 0; i < vocabulary; ++i) total += std::exp(logits[i] - highest);
    return logits[id] - highest - std::log(total);
}

}  // namespace charloom
