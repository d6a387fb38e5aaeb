#include "team.h"

#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace charloom {
namespace {

// What the code that GCC makes of `#pragma omp parallel` calls; part of the library's stable interface.
using Parallel = void (*)(void (*run)(void*), void* data, unsigned threads, unsigned flags);
using Number = int (*)();

struct OpenMp {
    Parallel parallel = nullptr;
    Number thread_number = nullptr, thread_count = nullptr;
} open_mp;

struct Job {
    void (*run)(void*, int, int);
    void* data;
};

void run_own_threads(int threads, const Job& job) {
    std::atomic<int> parts{0};  // not known before all threads are there
    std::vector<std::thread> others;
    try {
        for (int part = 1; part < threads; ++part)
            others.emplace_back([&, part] {
                int known;
                while ((known = parts.load(std::memory_order_acquire)) == 0) std::this_thread::yield();
                job.run(job.data, part, known);
            });
    } catch (...) {  // no more threads to be had: those that are there do it
    }
    parts.store(int(others.size()) + 1, std::memory_order_release);
    job.run(job.data, 0, parts.load());
    for (std::thread& other : others) other.join();
}

}  // namespace

bool share_threads([[maybe_unused]] const char* library) {
#if defined(__linux__)
    void* loaded = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    if (!loaded) return false;
    const OpenMp found{reinterpret_cast<Parallel>(dlsym(loaded, "GOMP_parallel")),
                       reinterpret_cast<Number>(dlsym(loaded, "omp_get_thread_num")),
                       reinterpret_cast<Number>(dlsym(loaded, "omp_get_num_threads"))};
    if (found.parallel && found.thread_number && found.thread_count) {
        open_mp = found;
        return true;
    }
#endif
    return false;
}

void run_team(int threads, void (*run)(void* data, int part, int parts), void* data) {
    Job job{run, data};
    if (threads <= 1) {
        run(data, 0, 1);
    } else if (open_mp.parallel) {
        open_mp.parallel(
            [](void* given) {
                const Job& own = *static_cast<Job*>(given);
                own.run(own.data, open_mp.thread_number(), open_mp.thread_count());
            },
            &job, unsigned(threads), 0);
    } else {
        run_own_threads(threads, job);
    }
}

}  // namespace charloom
