/* What decoding and copying share: a row of pixels into planes. */

#ifndef FUSEKIT_PIXELS_H
#define FUSEKIT_PIXELS_H

#include <stddef.h>
#include <stdint.h>

/* Colours to planes. A row has four bytes a pixel, the fourth of which says nothing: reading four
 * bytes a pixel, compilers do this with the oldest of vectors. */
static void split(const uint32_t *row, uint8_t *out, size_t width, size_t plane, int flip) {
    uint8_t *restrict red = out, *restrict green = out + plane, *restrict blue = out + 2 * plane;
    if (flip) {
        const uint32_t *last = row + width - 1;
        for (size_t x = 0; x < width; x++) {
            const uint8_t *pixel = (const uint8_t *)(last - x);
            red[x] = pixel[0], green[x] = pixel[1], blue[x] = pixel[2];
        }
    } else {
        const uint8_t *pixels = (const uint8_t *)row;
        for (size_t x = 0; x < width; x++)
            red[x] = pixels[4 * x], green[x] = pixels[4 * x + 1], blue[x] = pixels[4 * x + 2];
    }
}

#endif
