// Runs the parts of a job on new threads.
#pragma once

#include <exception>
#include <thread>
#include <vector>

namespace charloom {

// Call work(part) for 0 <= part < parts, the first part on the calling thread. Rethrows one of the exceptions after all
// parts have ended.
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
    std::vector<std::thread> threads;
    for (int part = 1; part < parts; ++part) {
        try {
            threads.emplace_back(run, part);
        } catch (...) {
            run(part);  // no more threads available
        }
    }
    if (parts > 0) run(0);
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

}  // namespace charloom
