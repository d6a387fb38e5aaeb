// A team of threads for work that throws no exceptions and may synchronize at barriers.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace charloom {

// Use the thread pool of an OpenMP library that is already loaded (GNU's, by its path). PyTorch's OpenMP threads spin
// while they wait for work, so additional threads would compete with them for the cores. Returns whether the library
// could be used; otherwise a team starts its own threads.
bool share_threads(const char* library);

// Call run(data, part, parts) on `threads` threads, or on fewer if not so many are available.
void run_team(int threads, void (*run)(void* data, int part, int parts), void* data);

template <class Work>
void in_team(int threads, Work work) {
    run_team(threads, [](void* data, int part, int parts) { (*static_cast<Work*>(data))(part, parts); }, &work);
}

// A spinning barrier for the threads of a team, for parts of work that take microseconds.
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
            if (spins > kMaxSpins) std::this_thread::sleep_for(kSleep);  // another thread may need this core to arrive
    }

private:
    // On a busy machine, a thread that yields waits for the whole time slice of another program; one that sleeps is
    // preferred when it wakes.
    static constexpr int kMaxSpins = 200000;
    static constexpr std::chrono::microseconds kSleep{20};
    std::atomic<int> arrived_{0}, round_{0};
};

// Call work(step, part, parts) for all steps in turn, the parts of a step in parallel.
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
