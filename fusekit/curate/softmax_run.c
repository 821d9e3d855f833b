/* Take in blocks of logits: for each row the running maximum, its place, and the sum of exp.
 *
 * Plain C without Python's API: ctypes lets go of the interpreter's lock for the whole call. The
 * exponentials are never written anywhere. Sixteen columns are one vector on every processor, so
 * the order of the sums, and but for fused multiply-adds their bits, are one everywhere.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16, TOGETHER = 8 };  /* vectors that are summed in float32 before float64 takes over */

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef double doubles __attribute__((vector_size(8 * LANES)));

/* One copy for each kind of vectors, chosen when the library is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define EACH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH
#endif
/* Vectors are passed inside this file alone, and all of that is inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"
#define INSIDE static inline __attribute__((always_inline))

INSIDE floats load(const float *from) {
    floats x;
    memcpy(&x, from, sizeof x);
    return x;
}

INSIDE floats larger(floats a, floats b) {
    ints first = a > b;
    return (floats)(((ints)a & first) | ((ints)b & ~first));
}

/* exp(x) of x <= 0, off by at most 2 units of 2^-24; under -87, where float32 ends, exp(-87).
 * x = n ln 2 + r, |r| <= ln(2) / 2: 2^n by its bits, exp(r) by a polynomial of degree 6. */
INSIDE floats exponential(floats x) {
    const float whole = 12582912.0f;  /* 1.5 * 2^23: what is added to it is rounded to whole */
    x = larger(x, (floats){0} - 87.0f);
    floats shifted = x * 1.44269504f + whole, n = shifted - whole;
    floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  /* ln 2 in two parts, the first exact */
    floats y = r * 1.3888889e-3f + 8.3333333e-3f;
    y = y * r + 4.1666667e-2f;
    y = y * r + 1.6666667e-1f;
    y = y * r + 0.5f;
    y = y * r * r + r + 1.0f;
    ints bits = ((ints)shifted << 23) + (ints)y;  /* what is over 2^9 in `shifted` falls off */
    return (floats)bits;
}

INSIDE double sum_lanes(doubles x) {
    double total = 0;
    for (int k = 0; k < LANES; k++) total += x[k];
    return total;
}

EACH static float maximum(const float *row, size_t count) {
    floats a = {0}, b;
    size_t at = 0;
    a += -INFINITY;
    b = a;
    for (; at + 2 * LANES <= count; at += 2 * LANES) {
        a = larger(a, load(row + at));
        b = larger(b, load(row + at + LANES));
    }
    a = larger(a, b);
    float most = -INFINITY;
    for (int k = 0; k < LANES; k++) most = a[k] > most ? a[k] : most;
    for (; at < count; at++) most = row[at] > most ? row[at] : most;
    return most;
}

EACH static double sum_exponentials(const float *row, size_t count, float top) {
    doubles total = {0};
    size_t at = 0;
    for (; at + LANES * TOGETHER <= count; at += LANES * TOGETHER) {
        floats some = {0};
        for (int k = 0; k < TOGETHER; k++) some += exponential(load(row + at + k * LANES) - top);
        total += __builtin_convertvector(some, doubles);
    }
    for (; at < count; at += LANES) {
        float rest[LANES];  /* what is past the end counts as exp(-87): nothing beside a sum over 1 */
        size_t left = count - at < LANES ? count - at : LANES;
        for (int k = 0; k < LANES; k++) rest[k] = -INFINITY;
        memcpy(rest, row + at, left * sizeof(float));
        total += __builtin_convertvector(exponential(load(rest) - top), doubles);
    }
    return sum_lanes(total);
}

/* The number in the name is raised when the arguments change: an old library is then not used.
 *
 * logits: rows x columns, finite; begin: the number of the first column's class
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
        if (most > top[k]) {  /* on a tie the earlier class stands */
            size_t place = 0;
            while (row[place] != most) place++;
            total[k] *= exp((double)top[k] - most);
            at[k] = begin + (int64_t)place;
            top[k] = most;
        }
        total[k] += sum_exponentials(row, columns, top[k]);
    }
}
