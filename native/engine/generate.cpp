#include "engine/generate.h"

#include <algorithm>

#include "common/parallel.h"

namespace charloom {

constexpr int kStreamGroup = 32;  // streams computed together: bounds the memory, and keeps their vectors in the caches

static void forward_group(const Network& network, const ForwardRequest& r, int first, int count) {
    Streams streams(network, r.state, r.batch, first, count);
    const int layers = int(network.layers.size()), hidden = network.hidden, parts = network.state_parts();
    const int64_t gates = int64_t{layers} * network.gates() * hidden, states = int64_t{layers} * parts * hidden;
    std::vector<int32_t> ids(count);
    for (int t = 0; t < r.length; ++t) {
        for (int s = 0; s < count; ++s) ids[s] = r.ids[int64_t{first + s} * r.length + t];
        streams.step(ids.data(), r.gates ? r.gates + (int64_t{first} * r.length + t) * gates : nullptr,
                     r.length * gates);
        if (r.states)
            for (int s = 0; s < count; ++s)
                for (int vector = 0; vector < layers * parts; ++vector)
                    std::copy_n(streams.state(vector / parts, vector % parts, s), hidden,
                                r.states + (int64_t{first + s} * r.length + t) * states + int64_t{vector} * hidden);
        if (!r.logits || (r.last && t + 1 < r.length)) continue;
        streams.predict();
        for (int s = 0; s < count; ++s) {
            const int64_t row = r.last ? first + s : int64_t{first + s} * r.length + t;
            std::copy_n(streams.logits(s), network.vocabulary, r.logits + row * network.vocabulary);
        }
    }
}

static void generate_group(const Network& network, const GenerationRequest& w, int first, int count) {
    Streams streams(network, w.state, w.batch, first, count);
    Sampler sampler(*network.kernels, network.vocabulary);
    const int vocabulary = network.vocabulary;
    for (int s = 0; s < count; ++s)
        std::copy_n(w.logits + int64_t{first + s} * vocabulary, vocabulary, streams.logits(s));
    std::vector<int32_t> ids(count);
    for (int t = 0; t < w.length; ++t) {
        for (int s = 0; s < count; ++s) {
            const int stream = first + s;
            int32_t* recent = w.recent + int64_t{stream} * w.recent_size;
            const Sampling& sampling = w.samplings[stream];
            int32_t* counts = w.counts ? w.counts + int64_t{stream} * vocabulary : nullptr;
            if (sampling.presence_penalty == 0.0f && sampling.frequency_penalty == 0.0f) counts = nullptr;
            const float* logits = streams.logits(s);
            ids[s] = sampler.draw(logits, sampling, {recent + w.recent_size - sampling.repetition_window, counts},
                                  random_word(w.seeds[stream], w.positions[stream] + t));
            if (counts) ++counts[ids[s]];
            if (w.recent_size) {
                std::copy(recent + 1, recent + w.recent_size, recent);
                recent[w.recent_size - 1] = ids[s];
            }
            w.ids[int64_t{stream} * w.length + t] = ids[s];
            if (w.log_probabilities)
                w.log_probabilities[int64_t{stream} * w.length + t] = log_probability(logits, vocabulary, ids[s]);
        }
        streams.step(ids.data());
        streams.predict();
    }
    for (int s = 0; s < count; ++s)
        std::copy_n(streams.logits(s), vocabulary, w.logits + int64_t{first + s} * vocabulary);
}

// Call work(first, count) for all streams in groups, divided among threads.
template <class Work>
static void in_groups(int batch, int threads, const Work& work) {
    threads = std::clamp(threads, 1, std::max(batch, 1));
    in_parallel(threads, [&](int part) {
        const int to = int(int64_t{batch} * (part + 1) / threads);
        for (int first = int(int64_t{batch} * part / threads); first < to; first += kStreamGroup)
            work(first, std::min(kStreamGroup, to - first));
    });
}

void forward(const Network& network, const ForwardRequest& request, int threads) {
    in_groups(request.batch, threads, [&](int first, int count) { forward_group(network, request, first, count); });
}

void generate(const Network& network, const GenerationRequest& request, int threads) {
    in_groups(request.batch, threads, [&](int first, int count) { generate_group(network, request, first, count); });
}

}  // namespace charloom
