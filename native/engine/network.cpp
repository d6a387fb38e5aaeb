#include "engine/network.h"

#include <algorithm>

namespace charloom {

static Matrix matrix_shape(int rows, int depth) {
    Matrix m;
    m.rows = rows;
    m.depth = depth;
    m.blocks = (rows + kRows - 1) / kRows;
    m.quads = (depth + 3) / 4;
    return m;
}

// The offset of an element in the packed order: its row, and its column of `depth` columns (or groups of 4 columns).
static size_t packed_offset(const Matrix& m, int row, int depth, int column) {
    const int block = row / kRows, first = block / kGroup * kGroup;
    const int width = std::min(kGroup, m.blocks - first);
    return (size_t(first) * depth + size_t(column) * width + (block - first)) * kRows + row % kRows;
}

PackedMatrix::PackedMatrix(const float* weights, int rows, int depth)
    : view_(matrix_shape(rows, depth)), floats_(size_t(view_.blocks) * kRows * depth) {
    for (int row = 0; row < rows; ++row)
        for (int k = 0; k < depth; ++k) floats_[packed_offset(view_, row, depth, k)] = weights[size_t(row) * depth + k];
    view_.floats = floats_.data();
}

PackedMatrix::PackedMatrix(const int8_t* weights, const float* scales, int rows, int depth)
    : view_(matrix_shape(rows, depth)),
      bytes_(size_t(view_.blocks) * view_.quads * kRows * 4),
      scales_(size_t(view_.blocks) * kRows),
      sums_(size_t(view_.blocks) * kRows) {
    for (int row = 0; row < rows; ++row) {
        const int8_t* from = weights + size_t(row) * depth;
        for (int k = 0; k < depth; ++k) {
            bytes_[packed_offset(view_, row, view_.quads, k / 4) * 4 + k % 4] = from[k];
            sums_[row] += from[k];
        }
        scales_[row] = scales[row];
    }
    view_.bytes = bytes_.data();
    view_.scales = scales_.data();
    view_.sums = sums_.data();
}

static int64_t padded(int rows) { return int64_t{(rows + kRows - 1) / kRows} * kRows; }

Streams::Streams(const Network& network, float* state, int batch, int first, int count)
    : network_(network),
      state_(state),
      batch_(batch),
      first_(first),
      count_(count),
      stride_(padded(network.gates() * network.hidden)),
      logits_stride_(padded(network.vocabulary)),
      hidden_(network.layers.size() * count),
      reset_(network.cell == Cell::gru_reset_before ? count : 0),
      inputs_(network.layers.size() > 1 ? stride_ * count : 0),
      products_(stride_ * count),
      logits_(logits_stride_ * count),
      update_(reset_.size() * network.hidden),
      reset_floats_(reset_.size() * network.hidden) {
    const size_t width = size_t(network.hidden + 3) / 4 * 4;
    bytes_ = Buffer<int8_t>(network.int8 ? (hidden_.size() + reset_.size()) * width : 0);
    for (size_t i = 0; i < hidden_.size(); ++i) {
        const int layer = int(i) / count, stream = int(i) % count;
        hidden_[i] = {const_cast<float*>(this->state(layer, 0, stream)), bytes_.data() + i * width};
    }
    for (size_t s = 0; s < reset_.size(); ++s)
        reset_[s] = {reset_floats_.data() + s * network.hidden, bytes_.data() + (hidden_.size() + s) * width};
    state_changed();
}

void Streams::state_changed() {
    for (Vector& hidden : hidden_) quantize(hidden);
}

const float* Streams::state(int layer, int part, int stream) const {
    const int64_t vector = (int64_t{layer} * network_.state_parts() + part) * batch_ + first_ + stream;
    return state_ + vector * network_.hidden;
}

void Streams::multiply(const PackedMatrix& matrix, const Vector* x, float* y, int64_t stride) const {
    const auto product = network_.int8 ? network_.kernels->product_int8 : network_.kernels->product_float32;
    product(matrix.view(), x, count_, y, stride, backwards_);
}

void Streams::quantize(Vector& vector) const {
    if (network_.int8) network_.kernels->quantize(vector, network_.hidden);
}

const float* Streams::input_of(int layer, int stream, const int32_t* ids) const {
    return layer ? inputs_.data() + stream * stride_
                 : network_.table.data() + int64_t{ids[stream]} * network_.gates() * network_.hidden;
}

void Streams::step(const int32_t* ids, float* gates, int64_t gates_stride) {
    backwards_ = !backwards_;
    for (int layer = 0; layer < int(network_.layers.size()); ++layer) {
        if (layer) {
            const Layer& weights = network_.layers[layer];
            multiply(weights.input, &hidden_[size_t(layer - 1) * count_], inputs_.data(), stride_);
            for (int s = 0; s < count_; ++s)
                network_.kernels->add(inputs_.data() + s * stride_, weights.input_bias.data(),
                                      network_.gates() * network_.hidden);
        }
        layer_step(layer, ids, gates ? gates + int64_t{layer} * network_.gates() * network_.hidden : nullptr,
                   gates_stride);
    }
}

void Streams::layer_step(int layer, const int32_t* ids, float* gates, int64_t gates_stride) {
    const Layer& weights = network_.layers[layer];
    const Kernels& kernels = *network_.kernels;
    Vector* hidden = &hidden_[size_t(layer) * count_];
    multiply(weights.state, hidden, products_.data(), stride_);
    for (int s = 0; s < count_; ++s) {
        const float* input = input_of(layer, s, ids);
        const float* product = products_.data() + s * stride_;
        float* stream_gates = gates ? gates + s * gates_stride : nullptr;
        if (network_.cell == Cell::lstm) {
            kernels.lstm(input, product, hidden[s].floats, const_cast<float*>(state(layer, 1, s)), stream_gates,
                         network_.hidden);
        } else if (network_.cell == Cell::gru) {
            kernels.gru(input, product, weights.candidate_bias.data(), hidden[s].floats, stream_gates, network_.hidden);
        } else {
            kernels.gru_reset(input, product, hidden[s].floats, update_.data() + int64_t{s} * network_.hidden,
                              reset_[s].floats, stream_gates, network_.hidden);
            quantize(reset_[s]);
        }
    }
    if (network_.cell == Cell::gru_reset_before) reset_candidates(layer, ids, gates, gates_stride);
    for (int s = 0; s < count_; ++s) quantize(hidden[s]);
}

void Streams::reset_candidates(int layer, const int32_t* ids, float* gates, int64_t gates_stride) {
    multiply(network_.layers[layer].candidate, reset_.data(), products_.data(), stride_);
    for (int s = 0; s < count_; ++s)
        network_.kernels->gru_candidate(
            input_of(layer, s, ids), products_.data() + s * stride_, update_.data() + int64_t{s} * network_.hidden,
            hidden_[size_t(layer) * count_ + s].floats, gates ? gates + s * gates_stride : nullptr, network_.hidden);
}

void Streams::predict() {
    multiply(network_.output, &hidden_[hidden_.size() - count_], logits_.data(), logits_stride_);
    for (int s = 0; s < count_; ++s) network_.kernels->add(logits(s), network_.output_bias.data(), network_.vocabulary);
}

}  // namespace charloom
