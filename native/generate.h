// The loops over characters: reading given ones, and writing new ones.
#pragma once

#include "network.h"
#include "sampling.h"

namespace charloom {

// Read ids (B, T); the state (L, S, B, H) moves on. Outputs may be null: logits (B, T, V) or, if `last`, (B, 1, V);
// gates (B, T, L, G, H); states (B, T, L, S, H).
struct Reading {
    const int32_t* ids;
    int batch, length;
    float* state;
    float* logits;
    bool last;
    float* gates;
    float* states;
};
void read(const Network& network, const Reading& reading, int threads);

// Draw ids (B, T), each fed back; state and logits (B, V) move on. `recent` (B, window) are the last ids of each
// text, oldest first, `counts` (B, V) how often each was drawn, where a text's penalties ask for it, or null; they move
// on too. Each text has its own seed, its own number of characters drawn before, and its own way of drawing.
// log_probabilities (B, T) may be null.
struct Writing {
    int32_t* ids;
    int batch, length;
    float* state;
    float* logits;
    const uint64_t* seeds;
    const uint64_t* positions;
    int32_t* recent;
    int window;
    int32_t* counts;
    double* log_probabilities;
    const Sampling* samplings;
};
void write(const Network& network, const Writing& writing, int threads);

}  // namespace charloom
