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

#define INFINITE (-log(0.0))  // NVRTC has no INFINITY
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

// ---- Estimators. One thread works on one data point; what is (K, N) has columns n.

struct LogWeights {
    const T *px, *pz, *qz;
    Size N, n;
    __device__ double operator()(Size k) const {
        return double(px[k * N + n]) + double(pz[k * N + n]) - double(qz[k * N + n]);
    }
};

// h(s, t) of jvi/jackknife.py, given 1 - s t
__device__ double h(double s, double t, double miss) { return s * t * (2 + s + t) / miss; }

// JVI of order 1 or 2 and its weights u, the algorithm of jvi/jackknife.py with its names; its
// constants are const, beta_1 and beta_2. SERIES + 1 is where its padded power sums end.
#define SERIES 13
__device__ double jackknife(const LogWeights& log_w, Size K, int order, double constant,
                            double beta1, double beta2, double* u) {
    const int M = order + 1;
    const double GAP = 40, ZERO = -1e300;
    const Size N = log_w.N, n = log_w.n;
    double log_top[3] = {-INFINITE, -INFINITE, -INFINITE}, top[3] = {1, 0, 0}, excess[3] = {0};
    Size who[3] = {-1, -1, -1};
    for (Size k = 0; k < K; ++k) {
        double x = fmax(log_w(k), ZERO);
        Size index = k;
        for (int a = 0; a < M; ++a) {
            if (!(x > log_top[a])) continue;
            const double lower = log_top[a];
            const Size other = who[a];
            log_top[a] = x, who[a] = index, x = lower, index = other;
        }
    }
    double level = 0, total = 1, rest_sum = 0;
    for (int a = 1; a < M; ++a) {
        const double gap = log_top[a - 1] - log_top[a];
        level -= fmin(gap, GAP);
        excess[a] = fmax(gap - GAP, 0.0);
        total += top[a] = exp(level);
    }
    for (Size k = 0; k < K; ++k) {
        const bool is_top = k == who[0] || k == who[1] || k == who[2];
        rest_sum += u[k * N + n] = is_top ? 0.0 : exp(fmax(log_w(k), ZERO) - log_top[M - 1]);
    }
    total += top[M - 1] * rest_sum;
    const double scale = top[M - 1] / total;
    rest_sum *= scale;
    for (int a = 0; a < M; ++a) top[a] /= total;
    const double others[3] = {top[1] + top[2] + rest_sum, 1 - top[1], 1 - top[2]};

    double t_top[3] = {0}, across[3] = {0}, sums[SERIES + 2] = {0}, t_sum = 0, E1 = 0, E2 = 0;
    for (int a = 0; a < M; ++a) t_top[a] = top[a] / others[a], E1 -= log(others[a]);
    for (Size k = 0; k < K; ++k) {
        const double r = u[k * N + n] *= scale, t = r / (1 - r);
        t_sum += t;
        E1 -= log1p(-r);
        if (order < 2) continue;
        E2 -= 0.5 * log1p(-t * t);
        double power = 1;
        for (int p = 1; p <= SERIES; ++p) sums[p] += power *= t;
        for (int a = 0; a < M; ++a) {
            E2 += log1p(-t_top[a] * t);
            across[a] += h(t_top[a], t, 1 - t_top[a] * t);
        }
    }
    double within = 0, h_pairs[3] = {0};  // of the pairs that lack top sample 0, 1, 2
    if (order == 2) {
        for (int p = 1; p <= SERIES; ++p) E2 -= 0.5 * sums[p] * sums[p] / p;
        for (int lacking = 0; lacking < 3; ++lacking) {
            const double s = t_top[lacking == 0], t = t_top[lacking == 2 ? 1 : 2];
            const double without_both = top[2] + rest_sum;
            const double miss = lacking == 2 ? without_both / (others[0] * others[1]) : 1 - s * t;
            h_pairs[lacking] = h(s, t, miss);
            E2 += log(miss);
        }
    }
    const auto row_sum = [&](double t) {  // over the rest, without the sample itself
        double sum = 0;
        for (int p = SERIES; p > 0; --p)
            sum = t * (sum + (p > 1 ? sums[p - 1] : 0.0) + 2 * sums[p] + sums[p + 1]);
        return sum - 2 * t * t / (1 - t);
    };
    for (Size k = 0; order == 2 && k < K; ++k)
        within += 0.5 * row_sum(u[k * N + n] / (1 - u[k * N + n]));
    const double gamma0 = 1 + beta1, gamma1 = beta1 + beta2, gamma2 = beta2;
    const double t_all = t_top[0] + t_top[1] + t_top[2] + t_sum;
    for (Size k = 0; k < K; ++k) {
        const double r = u[k * N + n], t = r / (1 - r);
        double F2 = order == 2 ? within - row_sum(t) : 0.0;
        for (int a = 0; order == 2 && a < 3; ++a)
            F2 += across[a] + h_pairs[a] - h(t_top[a], t, 1 - t_top[a] * t);
        u[k * N + n] = r * (gamma0 - gamma1 * (t_all - t) + gamma2 * F2);
    }
    for (int a = 0; a < M; ++a) {
        double F1 = t_sum, F2 = within + h_pairs[a];
        for (int b = 0; b < M; ++b)
            if (b != a) F1 += t_top[b], F2 += across[b];
        u[who[a] * N + n] = top[a] * (gamma0 - gamma1 * F1 + gamma2 * F2);
    }
    const double value = log_top[0] + log(total) + constant + beta1 * (excess[1] + E1)
                         - beta2 * excess[2] + beta2 * E2;
    return value > 1e250 ? INFINITE : value < -1e250 ? -INFINITE : value;
}

// Gradients of the loss by log p(x|z) and log p(z), and by log q(z|x) where it is not 0; `scale`
// for the path through z; and columns of what is reported. The kinds of weights are jvi.gpu's.
// Above order 2, u and column 2 are given. images: how many the whole batch has.
KERNEL estimate(const T* log_px, const T* log_pz, const T* log_qz, const T* kl, T* g_model,
                T* g_path, T* scale, double* u, double* columns, Size K, Size N, Size images,
                Size order, double constant, double beta1, double beta2, Size model, Size path,
                Size has_kl) {
    const Size n = Size(blockIdx.x) * blockDim.x + threadIdx.x;
    if (n >= N) return;
    const LogWeights log_w = {log_px, log_pz, log_qz, N, n};
    double largest = -INFINITE, elbo = 0, logp = 0;
    for (Size k = 0; k < K; ++k) {
        largest = fmax(largest, log_w(k));
        elbo += log_w(k) / K;
        logp += log_px[k * N + n] / double(K);
    }
    double jvi = 0, sum = 0, squares = 0, by_px = 0, kept = 0;
    if (order == 1 || order == 2) jvi = jackknife(log_w, K, order, constant, beta1, beta2, u);
    if (order > 2) jvi = -columns[2 * N + n];
    for (Size k = 0; k < K; ++k) {
        const double v = exp(log_w(k) - largest);
        sum += v, squares += v * v, by_px += v * log_px[k * N + n];
        if (order == 0) u[k * N + n] = v;
        kept += fmax(u[k * N + n], 0.0);
    }
    for (Size k = 0; k < K; ++k) {
        const Size i = k * N + n;
        const double v = exp(log_w(k) - largest) / sum, clipped = fmax(u[i], 0.0) / kept;
        const double kinds[] = {1.0 / K, v, order == 0 ? v : u[i], clipped, v * v};
        const double b = kinds[path];
        double a = kinds[model];
        if (model != path) a = copysign(fmax(fabs(a), 1e-12), a < 0 ? -1.0 : 1.0);
        g_model[i] = -(elbo - elbo + a) / images;  // nan where a log-weight is not finite
        g_path[i] = b / images;
        scale[i] = b / a;
    }
    const double divergence = has_kl ? double(kl[n]) : 0.0, iwae = largest + log(sum / K);
    jvi = elbo - elbo + (order == 0 ? iwae : jvi);
    const double values[] = {-elbo, -iwae, -jvi, logp, -by_px / sum,
                             sum * sum / squares, divergence, divergence - logp, jvi - iwae};
    for (int c = 0; c < 9; ++c) columns[c * N + n] = values[c];
}

// A row is a column of `estimate`: adds its mean and variance over data points to sums (2, rows).
KERNEL summarise(const double* columns, double* sums, Size N) {
    ROWS(row);
    double mean = 0, variance = 0;
    COLUMNS(n, N) mean += columns[row * N + n];
    mean = block_sum(mean) / N;
    COLUMNS(n, N) variance += (columns[row * N + n] - mean) * (columns[row * N + n] - mean);
    variance = block_sum(variance) / (N > 1 ? N - 1 : 1);
    if (threadIdx.x == 0) sums[row] += mean, sums[gridDim.x + row] += variance;
}

// ---- Adam, over one buffer in which parameter p has the place [starts[p], starts[p] + sizes[p]).

// Collects gradients in one buffer, and the sum of their squares for each block.
#define SOURCE(p) const T *g##p
KERNEL gather(SOURCE(0), SOURCE(1), SOURCE(2), SOURCE(3), SOURCE(4), SOURCE(5), SOURCE(6),
              SOURCE(7), SOURCE(8), SOURCE(9), SOURCE(10), SOURCE(11), SOURCE(12), SOURCE(13),
              SOURCE(14), SOURCE(15), const Size* starts, const Size* sizes, T* flat,
              double* squares, Size count) {
    const T* sources[] = {g0, g1, g2, g3, g4, g5, g6, g7, g8, g9, g10, g11, g12, g13, g14, g15};
    Size p = 0, i = starts[0] + Size(blockIdx.x) * blockDim.x + threadIdx.x;
    double sum = 0;
    for (; i < starts[count]; i += Size(gridDim.x) * blockDim.x) {
        while (i >= starts[p + 1]) ++p;
        const T g = i - starts[p] < sizes[p] ? sources[p][i - starts[p]] : T(0);
        flat[i] = g;
        sum += double(g) * g;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// One step, number t, with the gradient scaled down to length `clip` where it is longer.
KERNEL adam(const T* grad, const Size* t, const double* squares, T* param, T* m, T* v, Size size,
            Size parts, double clip, double alpha, double beta1, double beta2, double eps) {
    double sum = 0;
    COLUMNS(i, parts) sum += squares[i];
    const double rate = clip / sqrt(block_sum(sum));
    const T factor = rate < 1 ? rate : 1.0;
    const T step = alpha * sqrt(1 - pow(beta2, double(*t))) / (1 - pow(beta1, double(*t)));
    for (Size i = Size(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
         i += Size(gridDim.x) * blockDim.x) {
        const T g = factor * grad[i];
        m[i] += T(1 - beta1) * (g - m[i]);
        v[i] += T(1 - beta2) * (g * g - v[i]);
        param[i] -= step * m[i] / (sqrt(v[i]) + T(eps));
    }
}
