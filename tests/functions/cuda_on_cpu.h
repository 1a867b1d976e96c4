// Enough of CUDA to run kernels on a CPU: the threads of a block are fibres, of which one runs at a
// time, from one __syncthreads to the next; blocks follow one another.
#include <ucontext.h>

#include <cmath>
#include <functional>
#include <vector>

using namespace std;

#define __global__
#define __device__
#define __shared__ static

struct Index {
    unsigned x;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

static float sinpif(float x) { return sin(M_PI * x); }
static float cospif(float x) { return cos(M_PI * x); }

static ucontext_t scheduler;
static vector<ucontext_t> fibres;
static vector<bool> finished;
static function<void()> body;

static void __syncthreads() { swapcontext(&fibres[threadIdx.x], &scheduler); }

static void fibre() {
    body();
    finished[threadIdx.x] = true;
}

// `backwards` runs the threads in the reverse order: a race gives another result.
static void launch(unsigned grid, unsigned block, bool backwards, function<void()> kernel) {
    static vector<vector<char>> stacks(1024, vector<char>(1 << 15));
    body = kernel;
    gridDim.x = grid, blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
        fibres.assign(block, ucontext_t());
        finished.assign(block, false);
        for (unsigned i = 0; i < block; ++i) {
            getcontext(&fibres[i]);
            fibres[i].uc_stack.ss_sp = stacks[i].data();
            fibres[i].uc_stack.ss_size = stacks[i].size();
            fibres[i].uc_link = &scheduler;
            makecontext(&fibres[i], fibre, 0);
        }
        for (bool running = true; running;) {
            running = false;
            for (unsigned i = 0; i < block; ++i) {
                threadIdx.x = backwards ? block - 1 - i : i;
                if (finished[threadIdx.x]) continue;
                running = true;
                swapcontext(&scheduler, &fibres[threadIdx.x]);
            }
        }
    }
}
