/* Compare hashes whose substrings differ by one change: what hamming.py does in blocks of pairs.
 *
 * Plain C without Python's API: ctypes lets go of the interpreter's lock for the whole call.
 */

#include <stddef.h>
#include <stdint.h>

/* Counting bits is one instruction on every x86 of this century's second decade. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define EACH __attribute__((target_clones("popcnt", "default")))
#else
#define EACH
#endif

enum { ROW = 0, PARTNER = 1, FOUND = 2 };

/* The number in the name is raised when the arguments change: an old library is then not used.
 *
 * count, keys, starts, low, high: the hashes ordered by one substring, the substring, where each
 *     value of it begins, and the hashes' two words
 * change: the bits of the substring in which pairs differ; mask: bits of a hash that are flipped
 * radius: the most bits in which pairs differ
 * earlier, before, reach: pairs that differ in at most reach of the bits of one of the earlier
 *     masks, two words each, were given before
 * size, left, right, distance: room for the pairs
 * state: where to begin, 0 and 0 at first, and how many pairs were found; when they fill the room,
 *     call again; the row is count when all is done
 */
EACH void fusekit_near_run_1(
    int64_t count, const int64_t *keys, const int64_t *starts, const uint64_t *low,
    const uint64_t *high, int64_t change, const uint64_t *mask, int radius, size_t earlier,
    const uint64_t *before, int reach, int64_t size, int64_t *left, int64_t *right,
    int16_t *distance, int64_t *state
) {
    int64_t row = state[ROW], partner = state[PARTNER], found = 0;
    /* Of the two ends the one whose highest changed bit is 0 has the smaller key. */
    int64_t highest = change ? (int64_t)1 << (63 - __builtin_clzll((uint64_t)change)) : 0;
    for (; row < count; row++, partner = 0) {
        if (keys[row] & highest) continue;
        int64_t end = starts[(keys[row] ^ change) + 1];
        if (!partner) partner = change ? starts[keys[row] ^ change] : row + 1;
        uint64_t a = low[row] ^ mask[0], b = high[row] ^ mask[1];
        for (; partner < end; partner++) {
            uint64_t x = a ^ low[partner], y = b ^ high[partner];
            int bits = __builtin_popcountll(x) + __builtin_popcountll(y);
            if (bits > radius) continue;
            int fresh = 1;
            for (size_t k = 0; k < earlier; k++)
                fresh &= __builtin_popcountll(x & before[2 * k])
                    + __builtin_popcountll(y & before[2 * k + 1]) > reach;
            if (!fresh) continue;
            if (found == size) goto full;
            left[found] = row;
            right[found] = partner;
            distance[found++] = (int16_t)bits;
        }
    }
    partner = 0;
full:
    state[ROW] = row;
    state[PARTNER] = partner;
    state[FOUND] = found;
}
