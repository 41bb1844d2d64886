//! The colours of the picture.

use crate::canvas::Tint;

pub const WHITE: Tint = Tint::hex(0xffffff);

pub const SKY_ZENITH: Tint = Tint::hex(0x1f3a78);
pub const SKY_HIGH: Tint = Tint::hex(0x4a5aac);
pub const SKY_MIDDLE: Tint = Tint::hex(0x9a74bc);
pub const SKY_ROSE: Tint = Tint::hex(0xee8a9c);
pub const SKY_APRICOT: Tint = Tint::hex(0xffbd7c);
pub const SKY_HORIZON: Tint = Tint::hex(0xffe6a6);
pub const SUN: Tint = Tint::hex(0xfffbe6);
pub const SUN_GLOW: Tint = Tint::hex(0xffdf90);
pub const CLOUD_SHADE: Tint = Tint::hex(0x7a6bb8);
pub const CLOUD_ROSE: Tint = Tint::hex(0xf5a0a8);
pub const CLOUD_LIGHT: Tint = Tint::hex(0xffe0b4);

pub const PEAK_FAR: Tint = Tint::hex(0xa883b8);
pub const PEAK_MIDDLE: Tint = Tint::hex(0x7068ac);
pub const PEAK_NEAR: Tint = Tint::hex(0x44578f);
pub const PINE: Tint = Tint::hex(0x21476a);
pub const WATER_DEEP: Tint = Tint::hex(0x3d5a9e);

pub const GRASS_LIT: Tint = Tint::hex(0xa4b04c);
pub const GRASS: Tint = Tint::hex(0x3f8566);
pub const GRASS_SHADE: Tint = Tint::hex(0x1f5a58);
pub const GRASS_DEEP: Tint = Tint::hex(0x0f3340);
pub const PETAL_CORAL: Tint = Tint::hex(0xff6f61);
pub const PETAL_YELLOW: Tint = Tint::hex(0xffcf40);
pub const PETAL_WHITE: Tint = Tint::hex(0xfff4e6);
pub const PETAL_VIOLET: Tint = Tint::hex(0xa07cf0);

pub const FOX: Tint = Tint::hex(0xec7428);
pub const FOX_LIGHT: Tint = Tint::hex(0xffa54e);
pub const FOX_SHADE: Tint = Tint::hex(0xb9481f);
pub const FOX_DEEP: Tint = Tint::hex(0x7c2b22);
pub const CREAM: Tint = Tint::hex(0xfff0dc);
pub const CREAM_SHADE: Tint = Tint::hex(0xe2bfb4);
pub const UMBER: Tint = Tint::hex(0x3a2030);
pub const NIGHT: Tint = Tint::hex(0x1e1220);
pub const BLUSH: Tint = Tint::hex(0xff7d70);
pub const IRIS: Tint = Tint::hex(0xf2a72a);
pub const IRIS_DEEP: Tint = Tint::hex(0x8a3d12);
pub const RIM_LIGHT: Tint = Tint::hex(0xffe2a0);
pub const COOL_SHADE: Tint = Tint::hex(0x4a3a8c);

pub const BERET: Tint = Tint::hex(0xc92a5c);
pub const BERET_LIGHT: Tint = Tint::hex(0xf2668a);
pub const BERET_SHADE: Tint = Tint::hex(0x7b1546);
pub const SCARF: Tint = Tint::hex(0x17a3a0);
pub const SCARF_LIGHT: Tint = Tint::hex(0x58d2c0);
pub const SCARF_SHADE: Tint = Tint::hex(0x0b5c70);

pub const WOOD: Tint = Tint::hex(0xb97a48);
pub const WOOD_LIGHT: Tint = Tint::hex(0xe6b072);
pub const WOOD_SHADE: Tint = Tint::hex(0x73432f);
pub const PAPER: Tint = Tint::hex(0xfff6e2);
pub const INK: Tint = Tint::hex(0x3b2a45);
pub const BLUEBIRD: Tint = Tint::hex(0x3f7fd6);
pub const BLUEBIRD_SHADE: Tint = Tint::hex(0x254c9c);
pub const LEAF_LIT: Tint = Tint::hex(0xf2a03c);
pub const LEAF: Tint = Tint::hex(0x8f4a5e);
pub const LEAF_SHADE: Tint = Tint::hex(0x46305f);
