/* Copy a run of crops that are pixels already, in one call, straight into a batch.
 *
 * Plain C without Python's API: ctypes lets go of the interpreter's lock for the whole call. A crop
 * is copied whole and as it was meant, or it is refused; what is refused goes the ordinary way,
 * which knows the reason.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pixels.h"

enum { COPIED = 0, REFUSED = 1 };

/* Three bytes a pixel to four, and nothing read past the last. */
static void widen(const uint8_t *in, uint32_t *row, size_t width) {
    size_t last = width - 1;
    for (size_t x = 0; x < last; x++) memcpy(row + x, in + 3 * x, 4);
    memcpy(row + last, in + 3 * last, 3);
}

/* The sum of a crop's 8-byte words, modulo 2^64. */
static uint64_t sum(const uint8_t *crop, size_t size) {
    uint64_t total = 0, word;
    for (size_t at = 0; at + 8 <= size; at += 8) {
        memcpy(&word, crop + at, 8);
        total += word;
    }
    return total;
}

/* Left and right change places. Each store's fourth byte is the next one's first; nothing is read
 * or written past the row. */
static void mirror(const uint8_t *in, uint8_t *out, size_t width) {
    size_t last = width - 1;
    memcpy(out, in + 3 * last, 3);
    for (size_t x = 1; x < last; x++) memcpy(out + 3 * x, in + 3 * (last - x), 4);
    memcpy(out + 3 * last, in, 3);
}

static void place(
    const uint8_t *crop, uint8_t *out, uint32_t height, size_t width, int planes, int flip,
    uint32_t *row
) {
    size_t plane = width * height, step = width * 3;
    for (size_t y = 0; y < height; y++) {
        if (planes) {
            widen(crop + y * step, row, width);
            split(row, out + y * width, width, plane, flip);
        } else {
            mirror(crop + y * step, out + y * step, width);
        }
    }
}

/* The number in the name is raised when the arguments change: an old library is then not used.
 *
 * data, length: of each crop; a length of 0 leaves its place as it is and refuses it
 * head, head_size: what the stored bytes begin with, before height * width * 3 bytes of pixels; a
 *     crop of another head or length is refused
 * sums: of each crop, the sum of its pixels' 8-byte words; one whose copy has another is refused,
 *     since somebody may be writing it. The pixels are a whole number of words then. 0: none
 * out, planes, flip, status: as fusekit_decode_run has them
 */
void fusekit_copy_run_1(
    size_t count, const uint8_t *const *data, const int64_t *length, const uint8_t *head,
    size_t head_size, const uint64_t *sums, uint8_t *out, uint32_t height, uint32_t width,
    int planes, const uint8_t *flip, uint8_t *status
) {
    size_t size = (size_t)height * width * 3;
    uint32_t *row = malloc((size_t)width * sizeof(uint32_t));
    uint8_t *copy = malloc(size);
    memset(status, REFUSED, count);
    if (row && copy && size) {
        for (size_t k = 0; k < count; k++) {
            const uint8_t *crop = data[k];
            uint8_t *to = out + k * size;
            int moved = planes || (flip && flip[k]);
            if (length[k] != (int64_t)(head_size + size)) continue;
            if (head_size && memcmp(crop, head, head_size)) continue;
            crop += head_size;
            if (sums) {
                /* What is summed up is what is given, not what may be another thing by now. */
                uint8_t *kept = moved ? copy : to;
                memcpy(kept, crop, size);
                if (sum(kept, size) != sums[k]) continue;
                crop = kept;
            } else if (!moved) {
                memcpy(to, crop, size);
            }
            if (moved) place(crop, to, height, width, planes, flip && flip[k], row);
            status[k] = COPIED;
        }
    }
    free(copy);
    free(row);
}
