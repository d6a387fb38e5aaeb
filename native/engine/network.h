// A trained network, and a batch of character streams that it processes together.
#pragma once

#include <cstdint>
#include <vector>

#include "common/buffer.h"
#include "engine/kernels.h"

namespace charloom {

enum class Cell { gru, gru_reset_before, lstm };

// A weight matrix (rows, depth), packed in the order in which products read it.
class PackedMatrix {
public:
    PackedMatrix() = default;
    PackedMatrix(const float* weights, int rows, int depth);
    PackedMatrix(const int8_t* weights, const float* scales, int rows, int depth);
    const Matrix& view() const { return view_; }

private:
    Matrix view_;
    Buffer<int8_t> bytes_;
    Buffer<float> floats_, scales_;
    Buffer<int32_t> sums_;
};

struct Layer {
    PackedMatrix input;            // (G*H, H); not in the first layer, which uses Network::table
    Buffer<float> input_bias;      // (G*H); not in the first layer
    PackedMatrix state;            // (G*H, H); for gru_reset_before only r and z, (2*H, H)
    PackedMatrix candidate;        // (H, H), gru_reset_before only
    Buffer<float> candidate_bias;  // (H), gru only
};

struct Network {
    Cell cell;
    int vocabulary, hidden;
    bool int8;
    Buffer<float> table;  // (V, G*H): the first layer's input product for each character, biases included
    std::vector<Layer> layers;
    PackedMatrix output;
    Buffer<float> output_bias;
    const Kernels* kernels;

    int gates() const { return cell == Cell::lstm ? 4 : 3; }
    int state_parts() const { return cell == Cell::lstm ? 2 : 1; }
};

// Streams first, ..., first + count - 1 of a batch whose state (L, S, batch, H) is updated in place.
class Streams {
public:
    Streams(const Network& network, float* state, int batch, int first, int count);

    // Process one character of each stream. If `gates` is given, stores those of stream s, (L, G, H), at gates + s *
    // gates_stride.
    void step(const int32_t* ids, float* gates = nullptr, int64_t gates_stride = 0);
    // Compute the logits of the next character.
    void predict();
    // Tell the streams that the caller changed the state.
    void state_changed();
    float* logits(int stream) { return logits_.data() + stream * logits_stride_; }
    const float* state(int layer, int part, int stream) const;

private:
    void layer_step(int layer, const int32_t* ids, float* gates, int64_t gates_stride);
    void reset_candidates(int layer, const int32_t* ids, float* gates, int64_t gates_stride);
    const float* input_of(int layer, int stream, const int32_t* ids) const;
    void multiply(const PackedMatrix& matrix, const Vector* x, float* y, int64_t stride) const;
    void quantize(Vector& vector) const;

    const Network& network_;
    float* state_;
    int batch_, first_, count_;
    bool backwards_ = true;
    int64_t stride_, logits_stride_;  // length of a stream's row, padded
    std::vector<Vector> hidden_;      // (L, count)
    std::vector<Vector> reset_;       // (count): r * h
    Buffer<int8_t> bytes_;
    Buffer<float> inputs_, products_, logits_, update_, reset_floats_;
};

}  // namespace charloom
