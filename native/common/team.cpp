#include "common/team.h"

#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace charloom {
namespace {

// The functions that GCC's code for `#pragma omp parallel` calls; part of libgomp's stable ABI.
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
    std::atomic<int> parts{0};  // 0 until all threads are started
    std::vector<std::thread> workers;
    try {
        for (int part = 1; part < threads; ++part)
            workers.emplace_back([&, part] {
                int count;
                while ((count = parts.load(std::memory_order_acquire)) == 0) std::this_thread::yield();
                job.run(job.data, part, count);
            });
    } catch (...) {  // no more threads available: continue with those started
    }
    parts.store(int(workers.size()) + 1, std::memory_order_release);
    job.run(job.data, 0, parts.load());
    for (std::thread& worker : workers) worker.join();
}

}  // namespace

bool share_threads([[maybe_unused]] const char* library) {
#if defined(__linux__)
    void* loaded = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    if (!loaded) return false;
    const OpenMp library_functions{reinterpret_cast<Parallel>(dlsym(loaded, "GOMP_parallel")),
                                   reinterpret_cast<Number>(dlsym(loaded, "omp_get_thread_num")),
                                   reinterpret_cast<Number>(dlsym(loaded, "omp_get_num_threads"))};
    if (library_functions.parallel && library_functions.thread_number && library_functions.thread_count) {
        open_mp = library_functions;
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
            [](void* argument) {
                const Job& job = *static_cast<Job*>(argument);
                job.run(job.data, open_mp.thread_number(), open_mp.thread_count());
            },
            &job, unsigned(threads), 0);
    } else {
        run_own_threads(threads, job);
    }
}

}  // namespace charloom
