// Work in parts on threads of their own.
#pragma once

#include <exception>
#include <thread>
#include <vector>

namespace charloom {

// Call work(part) for 0 <= part < parts, the first part here; an exception in any is thrown here in the end.
template <class Work>
void in_parallel(int parts, const Work& work) {
    std::vector<std::exception_ptr> errors(parts);
    const auto run = [&](int part) {
        try {
            work(part);
        } catch (...) {
            errors[part] = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    for (int part = 1; part < parts; ++part) {
        try {
            others.emplace_back(run, part);
        } catch (...) {
            run(part);  // no more threads to be had
        }
    }
    if (parts > 0) run(0);
    for (std::thread& other : others) other.join();
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

}  // namespace charloom
