//! Reads pictures as the options say.

use std::sync::Once;

use anyhow::Result;

use vae::picture::{Picture, Profile};

use super::args::{Encoding, IccChoice};
use super::ui::Ui;

/// Reads the bytes of a picture file.
///
/// With `--icc keep`, the first picture of a run whose colours are not sRGB causes a note.
pub fn read(bytes: &[u8], encoding: &Encoding, ui: &Ui) -> Result<Picture> {
    if encoding.icc == IccChoice::Convert {
        return Ok(Picture::from_bytes_in_srgb(bytes, encoding.background)?);
    }
    let picture = Picture::from_bytes(bytes, encoding.background)?;
    static NOTE: Once = Once::new();
    if !NOTE.is_completed()
        && let Some(profile) = Profile::of(bytes)?
        && profile.is_usable()
        && !profile.is_srgb()
    {
        NOTE.call_once(|| {
            let name = profile.description();
            ui.note(&format!("note: colour profiles are ignored ({name}); --icc convert converts to sRGB"));
        });
    }
    Ok(picture)
}
