/* Take in a block of logits: of each row the running maximum, its place, and the sum of exp.
 *
 * Plain C without Python's API: ctypes lets go of the interpreter's lock for the whole call. The
 * exponentials are never written back: the block is read once, each row a second time from the
 * cache. The loops are written so that a compiler makes vectors of them, of whatever width; the
 * sums are of a fixed number of lanes, so that the width changes no order.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CHUNK = 128, LANES = 16 };

/* One copy for each kind of vectors, chosen when the library is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define EACH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH
#endif
#define INSIDE static inline __attribute__((always_inline))

/* exp(x) of x <= 0, off by at most 4e-7 of it; under -87, where float32 nearly ends, exp(-87).
 *
 * x = n ln 2 + r with |r| <= ln(2) / 2: exp(r) by a polynomial that is off by 1.1e-7 (fitted for the
 * least relative error), 2^n by the bits of its exponent. Without a branch. */
INSIDE float exponential(float x) {
    const float whole = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded to whole */
    x = x > -87.0f ? x : -87.0f;
    float shifted = x * 1.44269504f + whole, n = shifted - whole;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts, the first short */
    float y = r * 8.31250101e-03f + 4.18903306e-02f;
    y = y * r + 1.66671157e-01f;
    y = y * r + 4.99992311e-01f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    uint32_t power, bits;
    memcpy(&power, &shifted, sizeof power);
    memcpy(&bits, &y, sizeof bits);
    bits += power << 23; /* n in two's complement; the bits of `whole` are pushed out */
    memcpy(&y, &bits, sizeof y);
    return y;
}

EACH static float maximum(const float *row, size_t count) {
    float most[CHUNK];
    size_t at = 0;
    for (size_t k = 0; k < CHUNK; k++) most[k] = -INFINITY;
    for (; at + CHUNK <= count; at += CHUNK)
        for (size_t k = 0; k < CHUNK; k++) most[k] = row[at + k] > most[k] ? row[at + k] : most[k];
    for (; at < count; at++) most[0] = row[at] > most[0] ? row[at] : most[0];
    for (size_t k = 1; k < CHUNK; k++) most[0] = most[k] > most[0] ? most[k] : most[0];
    return most[0];
}

/* The first place of a value that is there: a chunk that lacks it is passed over as a whole. */
EACH static size_t find(const float *row, size_t count, float value) {
    size_t at = 0;
    for (; at + CHUNK <= count; at += CHUNK) {
        int32_t equal = 0;
        for (size_t k = 0; k < CHUNK; k++) equal |= row[at + k] == value;
        if (equal) break;
    }
    while (row[at] != value) at++;
    return at;
}

/* The sum of exp(row - top): eight terms at a time in float32, and these sums in float64. */
EACH static double sum_exponentials(const float *row, size_t count, float top) {
    double total[LANES] = {0};
    for (size_t at = 0; at < count; at += CHUNK) {
        float term[CHUNK] = {0}, some[LANES] = {0};
        if (count - at >= CHUNK)
            for (size_t k = 0; k < CHUNK; k++) term[k] = exponential(row[at + k] - top);
        else
            for (size_t k = 0; at + k < count; k++) term[k] = exponential(row[at + k] - top);
        for (size_t j = 0; j < CHUNK; j += LANES)
            for (size_t k = 0; k < LANES; k++) some[k] += term[j + k];
        for (size_t k = 0; k < LANES; k++) total[k] += some[k];
    }
    for (size_t k = 1; k < LANES; k++) total[0] += total[k];
    return total[0];
}

/* The number in the name is raised when the arguments change: an old library is then not used.
 *
 * logits: rows x columns, finite; begin: the class of the first column
 * top, at, total: of each row, the largest logit so far, its class, and the sum of exp(logit - top);
 *     at first -INFINITY, anything and 0
 */
void fusekit_softmax_run_1(
    size_t rows, size_t columns, const float *logits, int64_t begin, float *top, int64_t *at,
    double *total
) {
    for (size_t k = 0; k < rows; k++) {
        const float *row = logits + k * columns;
        float most = maximum(row, columns);
        if (most > top[k]) { /* on a tie the earlier class stands */
            total[k] *= exp((double)top[k] - most);
            at[k] = begin + (int64_t)find(row, columns, most);
            top[k] = most;
        }
        total[k] += sum_exponentials(row, columns, top[k]);
    }
}
