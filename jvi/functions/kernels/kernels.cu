// The passes between a step's matrix products on a GPU. T is float or double: -DREAL=...
//
// Arrays are C-contiguous, of T unless said otherwise. Where a kernel says "rows", every block
// works on one row and its threads share the columns; sums over a block need a power of two of
// threads.

#ifndef REAL
#define REAL float
#endif
typedef REAL T;
typedef long long Size;

#define KERNEL extern "C" __global__ void
#define ROWS(row) const Size row = blockIdx.x
#define COLUMNS(j, width) for (Size j = threadIdx.x; j < (width); j += blockDim.x)

__device__ double block_sum(double value) {
    __shared__ double scratch[256];
    scratch[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        __syncthreads();
    }
    const double sum = scratch[0];
    __syncthreads();  // before the next call writes
    return sum;
}

// ---- Network. Rows of the decoder are samples and images, k * N + n.

KERNEL bernoulli(const T* x, const T* bias, T* logits, T* out, Size N, Size pixels, Size residual) {
    ROWS(row);
    const T* image = x + row % N * pixels;
    T* h = logits + row * pixels;
    double sum = 0;
    COLUMNS(j, pixels) {
        const T a = h[j] + bias[j], size = fabs(a), e = exp(-size), centred = image[j] - T(0.5);
        // Term by term: the sums of the linear and of the logarithmic parts are large and cancel.
        sum += centred * a - T(0.5) * size - log1p(e);
        if (residual) h[j] = centred - copysign(T(0.5) * (1 - e) / (1 + e), a);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[row] = sum;
}

KERNEL crelu(const T* h, const T* bias, T* out, Size half) {
    ROWS(row);
    COLUMNS(j, half) {
        const T a = h[row * half + j] + bias[j];
        out[row * 2 * half + j] = a <= 0 ? T(0) : a;  // a nan is neither
        out[row * 2 * half + half + j] = a >= 0 ? T(0) : -a;
    }
}

KERNEL crelu_backward(const T* g, const T* out, const T* scale, T* d, Size half, Size scaled) {
    ROWS(row);
    const T factor = scaled ? scale[row] : T(1);
    COLUMNS(j, half) {
        const Size positive = row * 2 * half + j, negative = positive + half;
        const T a = out[positive] > 0 ? g[positive] : T(0);
        d[row * half + j] = factor * (a - (out[negative] > 0 ? g[negative] : T(0)));
    }
}

KERNEL absolute_beside(const T* bias, const T* z, T* h, T* out, Size half, Size D) {
    ROWS(row);
    COLUMNS(j, half + D) {
        T a = j < half ? h[row * half + j] + bias[j] : z[row * D + j - half];
        if (j < half) h[row * half + j] = a;
        out[row * (half + D) + j] = j < half ? fabs(a) : a;
    }
}

KERNEL times_sign(const T* h, T* g, Size half, Size width) {
    ROWS(row);
    COLUMNS(j, half) {
        const T a = h[row * half + j];
        g[row * width + j] *= a > 0 ? T(1) : a < 0 ? T(-1) : a;  // 0 and nan are their own signs
    }
}

// ---- Gaussians: z, eps (K, N, D), mean, ln_var (N, D). Rows of the backward passes are n.

KERNEL sample(const T* mean, const T* ln_var, const T* eps, T* z, Size N, Size D) {
    ROWS(row);
    const Size n = row % N;
    COLUMNS(d, D) {
        const T deviation = exp(T(0.5) * ln_var[n * D + d]);
        z[row * D + d] = mean[n * D + d] + deviation * eps[row * D + d];
    }
}

KERNEL sample_backward(const T* g, const T* ln_var, const T* eps, T* g_mean, T* g_ln_var, Size K,
                       Size N, Size D) {
    ROWS(n);
    COLUMNS(d, D) {
        T sum = 0, by_eps = 0;
        for (Size k = 0; k < K; ++k) {
            const Size i = (k * N + n) * D + d;
            sum += g[i];
            by_eps += g[i] * eps[i];
        }
        g_mean[n * D + d] = sum;
        g_ln_var[n * D + d] = T(0.5) * exp(T(0.5) * ln_var[n * D + d]) * by_eps;
    }
}

KERNEL log_density(const T* z, const T* mean, const T* ln_var, T* out, Size N, Size D,
                   Size standard) {
    ROWS(row);
    const Size n = row % N;
    double sum = 0;
    COLUMNS(d, D) {
        T a = z[row * D + d], l = 0;
        if (!standard) {
            l = ln_var[n * D + d];
            a = (a - mean[n * D + d]) * exp(T(-0.5) * l);
        }
        sum += a * a + l + T(1.8378770664093453);  // log 2 pi
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[row] = -0.5 * sum;
}

KERNEL log_density_backward(const T* g, const T* z, const T* mean, const T* ln_var, T* g_z,
                            T* g_mean, T* g_ln_var, Size K, Size N, Size D) {
    ROWS(n);
    COLUMNS(d, D) {
        const T centre = mean[n * D + d], inverse = exp(T(-0.5) * ln_var[n * D + d]);
        T for_mean = 0, for_ln_var = 0;
        for (Size k = 0; k < K; ++k) {
            const T weight = g[k * N + n], a = (z[(k * N + n) * D + d] - centre) * inverse;
            g_z[(k * N + n) * D + d] = -weight * a * inverse;
            for_mean += weight * a * inverse;
            for_ln_var += weight * (a * a - 1);
        }
        g_mean[n * D + d] = for_mean;
        g_ln_var[n * D + d] = T(0.5) * for_ln_var;
    }
}

KERNEL standard_log_density_backward(const T* g, const T* z, T* g_z, Size D) {
    ROWS(row);
    COLUMNS(d, D) g_z[row * D + d] = -g[row] * z[row * D + d];
}

// ---- Adam: step number t with learning rate lr, both on the device.

KERNEL adam(const T* grad, const Size* t, const double* lr, T* param, T* m, T* v, Size size,
            double rate1, double rate2, double eps) {
    const T step = *lr * sqrt(1 - pow(1 - rate2, double(*t))) / (1 - pow(1 - rate1, double(*t)));
    for (Size i = Size(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
         i += Size(gridDim.x) * blockDim.x) {
        const T g = grad[i];
        m[i] += T(rate1) * (g - m[i]);
        v[i] += T(rate2) * (g * g - v[i]);
        param[i] -= step * m[i] / (sqrt(v[i]) + T(eps));
    }
}
