// Conversions between f32 and the bits of f16 and bf16; rounds to nearest, ties to even.

#pragma once

#include <cstdint>

static inline float widen_half(uint16_t bits) {
    return (float)__builtin_bit_cast(_Float16, bits);
}

static inline uint16_t narrow_half(float x) {
    return __builtin_bit_cast(uint16_t, (_Float16)x);
}

static inline float widen_bfloat(uint16_t bits) {
    return __builtin_bit_cast(float, (uint32_t)bits << 16);
}

static inline uint16_t narrow_bfloat(float x) {
    uint32_t bits = __builtin_bit_cast(uint32_t, x);
    return x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
