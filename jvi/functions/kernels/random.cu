// Random numbers that are a function of key and counter: Philox-4x32-10 (Salmon et al. 2011,
// "Parallel random numbers: as easy as 1, 2, 3"). The counter is (place in the sequence of a data
// point, data point, iteration). Follows kernels.cu in one source.

typedef unsigned long long Bits;

struct Four {
    unsigned word[4];
};

__device__ Four philox(Four c, unsigned key0, unsigned key1) {
    for (int round = 0; round < 10; ++round) {
        const Bits a = Bits(0xD2511F53u) * c.word[0], b = Bits(0xCD9E8D57u) * c.word[2];
        const unsigned first = unsigned(b >> 32) ^ c.word[1] ^ key0;
        c = {first, unsigned(b), unsigned(a >> 32) ^ c.word[3] ^ key1, unsigned(a)};
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    return c;
}

__device__ Four bits(Size key, Size place, Size point, Size iteration) {
    const unsigned low = iteration, high = iteration >> 32;
    return philox({unsigned(place), unsigned(point), low, high}, key, key >> 32);
}

// Standard normal out (K, N, D), float, rows k * N + n: samples from first_sample on of the data
// points from first_point on (Box and Muller 1958). Every sample begins a counter of its own.
KERNEL normals(const Size* iteration, float* out, Size N, Size D, Size key, Size first_sample,
               Size first_point) {
    ROWS(row);
    const Size quads = (D + 3) / 4, place = (first_sample + row / N) * quads;
    COLUMNS(quad, quads) {
        const Four four = bits(key, place + quad, first_point + row % N, *iteration);
        for (int i = 0; i < 4 && 4 * quad + i < D; ++i) {
            const float u = four.word[i & 2] * 0x1p-32f + 0x1p-33f;
            const float angle = four.word[i | 1] * 0x1p-31f;  // in units of pi
            const float turned = i & 1 ? sinpif(angle) : cospif(angle);
            out[row * D + 4 * quad + i] = sqrtf(-2 * logf(u)) * turned;
        }
    }
}

// Uniform out (K, N, D), float in [0, 1), laid out and counted as by `normals`.
KERNEL uniforms(const Size* iteration, float* out, Size N, Size D, Size key, Size first_sample,
                Size first_point) {
    ROWS(row);
    const Size quads = (D + 3) / 4, place = (first_sample + row / N) * quads;
    COLUMNS(quad, quads) {
        const Four four = bits(key, place + quad, first_point + row % N, *iteration);
        for (int i = 0; i < 4 && 4 * quad + i < D; ++i)
            out[row * D + 4 * quad + i] = (four.word[i] >> 8) * 0x1p-24f;
    }
}
