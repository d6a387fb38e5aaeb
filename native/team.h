// Threads that work together on something that throws no exceptions, and may wait for each other.
#pragma once

#include <atomic>
#include <thread>

namespace charloom {

// Use the threads of an OpenMP library that is loaded already (GNU's, by its path): PyTorch's threads wait for their
// next work without sleeping, so threads beside them would have to share the cores with that. Returns whether it could
// be done; without it a team has threads of its own.
bool share_threads(const char* library);

// Call run(data, part, parts) on so many threads, or on fewer if there are not so many.
void run_team(int threads, void (*run)(void* data, int part, int parts), void* data);

template <class Work>
void in_team(int threads, Work work) {
    run_team(threads, [](void* data, int part, int parts) { (*static_cast<Work*>(data))(part, parts); }, &work);
}

// Lets the threads of a team wait for each other, for parts of work that take microseconds.
class Barrier {
public:
    void wait(int threads) {
        const int round = round_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
            arrived_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins)
            if (spins > 10000) std::this_thread::yield();  // another may need this core to arrive at all
    }

private:
    std::atomic<int> arrived_{0}, round_{0};
};

// Call work(step, part, parts) for all steps in turn, the parts of a step at the same time.
template <class Work>
void in_steps(int threads, int steps, const Work& work) {
    Barrier barrier;
    in_team(threads, [&](int part, int parts) {
        for (int step = 0; step < steps; ++step) {
            work(step, part, parts);
            barrier.wait(parts);
        }
    });
}

}  // namespace charloom
