/* Decode a run of JPEG crops in one call, straight into a batch.
 *
 * Plain C without Python's API: ctypes lets go of the interpreter's lock for the whole call. The
 * crops may be hostile. A crop is either decoded as simplejpeg decodes it, pixel for pixel, or it
 * is refused; what is refused goes the ordinary way, which knows the reason.
 */

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "pixels.h"

#ifndef JCS_EXTENSIONS
#error "this is not libjpeg-turbo"
#endif

#define MOST_SCANS 64 /* a progressive image has about ten; each costs time, however few its bytes */
#define ROWS 16       /* read at once: 7 KB of a crop of 112 pixels, in the nearest cache */

#define VECTOR 64     /* bytes, of the widest that libjpeg-turbo may write */

enum { DECODED = 0, REFUSED = 1 };

typedef struct {
    struct jpeg_error_mgr base; /* first: libjpeg knows only this part */
    jmp_buf give_up;
} Errors;

static void give_up(j_common_ptr jpeg) {
    longjmp(((Errors *)jpeg->err)->give_up, 1);
}

/* Warnings say that bytes are missing or wrong: the pixels would be a guess. */
static void hear(j_common_ptr jpeg, int level) {
    if (level < 0) give_up(jpeg);
}

static void say_nothing(j_common_ptr jpeg) {
    (void)jpeg;
}

static void count_scans(j_common_ptr jpeg) {
    if (((j_decompress_ptr)jpeg)->input_scan_number > MOST_SCANS) give_up(jpeg);
}

/* Only kinds whose pixels are compared with simplejpeg's before the library is used. */
static int is_known(const struct jpeg_decompress_struct *jpeg) {
    const jpeg_component_info *part = jpeg->comp_info;
    if (jpeg->data_precision != 8) return 0;
    if (jpeg->num_components == 1) return jpeg->jpeg_color_space == JCS_GRAYSCALE;
    if (jpeg->num_components != 3) return 0;
    if (jpeg->jpeg_color_space != JCS_YCbCr && jpeg->jpeg_color_space != JCS_RGB) return 0;
    for (int k = 1; k < 3; k++)
        if (part[k].h_samp_factor != 1 || part[k].v_samp_factor != 1) return 0;
    int wide = part[0].h_samp_factor, high = part[0].v_samp_factor;
    return (high == 1 && (wide == 1 || wide == 2 || wide == 4)) ||
           (high == 2 && (wide == 1 || wide == 2));
}

/* A progressive image that lacks scans is smoothed, in each release in another way. Its first ten
 * coefficients decide; by now the whole image is read. */
static int is_smoothed(const struct jpeg_decompress_struct *jpeg) {
    if (!jpeg->coef_bits) return 0;
    for (int part = 0; part < jpeg->num_components; part++)
        for (int k = 0; k < 10; k++)
            if (jpeg->coef_bits[part][k] != 0) return 1;
    return 0;
}

/* Four bytes a pixel to three: each store's fourth byte is the next one's first. */
static void pack(const uint32_t *row, uint8_t *out, size_t width, int flip) {
    size_t last = width - 1;
    if (flip)
        for (size_t x = 0; x < last; x++) memcpy(out + 3 * x, row + last - x, 4);
    else
        for (size_t x = 0; x < last; x++) memcpy(out + 3 * x, row + x, 4);
    memcpy(out + 3 * last, row + (flip ? 0 : last), 3);
}

/* Everything that setjmp comes back to stands in memory, not in registers: hence the struct. */
typedef struct {
    struct jpeg_decompress_struct jpeg;
    Errors errors;
    struct jpeg_progress_mgr progress;
    uint32_t *rows[ROWS]; /* RGB and a byte that says nothing */
} Work;

static void read_rows(Work *work, uint8_t *out, int planes, int flip) {
    j_decompress_ptr jpeg = &work->jpeg;
    size_t width = jpeg->output_width, plane = width * jpeg->output_height;
    while (jpeg->output_scanline < jpeg->output_height) {
        size_t y = jpeg->output_scanline, left = jpeg->output_height - y;
        size_t count =
            jpeg_read_scanlines(jpeg, (JSAMPARRAY)work->rows, left < ROWS ? left : ROWS);
        for (size_t k = 0; k < count; k++) {
            if (planes)
                split(work->rows[k], out + (y + k) * width, width, plane, flip);
            else
                pack(work->rows[k], out + (y + k) * width * 3, width, flip);
        }
    }
}

static int decode(
    Work *work, const uint8_t *data, size_t length, uint8_t *out, uint32_t height, uint32_t width,
    int planes, int flip
) {
    j_decompress_ptr jpeg = &work->jpeg;
    if (setjmp(work->errors.give_up)) {
        jpeg_destroy_decompress(jpeg);
        return REFUSED;
    }
    /* Anew for each crop, or one that brings no tables would be decoded with another's. */
    memset(jpeg, 0, sizeof *jpeg);
    jpeg->err = &work->errors.base;
    jpeg_create_decompress(jpeg);
    jpeg->progress = &work->progress;
    jpeg_mem_src(jpeg, data, length);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->image_width != width || jpeg->image_height != height || !is_known(jpeg))
        give_up((j_common_ptr)jpeg);
    jpeg->out_color_space = JCS_EXT_RGBX; /* made faster than three bytes, and moved anyway */
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    jpeg_start_decompress(jpeg);
    if (is_smoothed(jpeg)) give_up((j_common_ptr)jpeg);
    read_rows(work, out, planes, flip);
    jpeg_finish_decompress(jpeg);
    jpeg_destroy_decompress(jpeg);
    return DECODED;
}

/* The number in the name is raised when the arguments change: an old library is then not used.
 *
 * data, length: of each crop; a length of 0 leaves its place as it is and refuses it
 * out: count * height * width * 3 bytes, RGB; planes: (3, H, W) of each crop, or else (H, W, 3)
 * flip: of each crop, whether left and right change places; 0: of none
 * status: of each crop, 0 where it was decoded
 */
void fusekit_decode_run_1(
    size_t count, const uint8_t *const *data, const int64_t *length, uint8_t *out, uint32_t height,
    uint32_t width, int planes, const uint8_t *flip, uint8_t *status
) {
    Work *work = calloc(1, sizeof *work);
    size_t size = (size_t)height * width * 3;
    size_t stride = ((size_t)width * sizeof(uint32_t) / VECTOR + 2) * VECTOR;
    uint8_t *memory = malloc(ROWS * stride + VECTOR);
    memset(status, REFUSED, count);
    if (work && memory && height && width) {
        /* A whole number of vectors, and one pixel: to an aligned row libjpeg-turbo writes past
         * the caches, and reading it back then costs half as much as decoding it. */
        uint8_t *first = memory + VECTOR - (uintptr_t)memory % VECTOR + sizeof(uint32_t);
        for (size_t k = 0; k < ROWS; k++) work->rows[k] = (uint32_t *)(first + k * stride);
        jpeg_std_error(&work->errors.base);
        work->errors.base.error_exit = give_up;
        work->errors.base.emit_message = hear;
        work->errors.base.output_message = say_nothing;
        work->progress.progress_monitor = count_scans;
        for (size_t k = 0; k < count; k++)
            if (length[k] > 0)
                status[k] = decode(
                    work, data[k], length[k], out + k * size, height, width, planes,
                    flip && flip[k]);
    }
    free(memory);
    free(work);
}
