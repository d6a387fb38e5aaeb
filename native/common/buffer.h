// An array of numbers, zero-initialized and aligned for the widest vectors.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <utility>

namespace charloom {

template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(size_t size) : data_(static_cast<T*>(::operator new(size * sizeof(T) + 1, kAlignment))) {
        std::memset(static_cast<void*>(data_), 0, size * sizeof(T));
    }
    Buffer(const T* values, size_t size) : Buffer(size) {
        if (size) std::memcpy(data_, values, size * sizeof(T));
    }
    Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { ::operator delete(data_, kAlignment); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }

private:
    static constexpr std::align_val_t kAlignment{64};
    T* data_ = nullptr;
};

}  // namespace charloom
