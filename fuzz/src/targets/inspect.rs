//! The command `vae inspect`.

use std::fs;
use std::path::Path;

use vae::latents::Latents;
use vae::picture::Picture;

use super::{checkpoint, picture};

/// Latents with more values are not drawn.
const MOST_VALUES: usize = 4096;

/// Writes a file or a model into `folder`, and returns the arguments of the program that inspect it. `None` if that
/// would take long.
///
/// The bits of the first byte are options: 1 is `--json`, 2 is `-o`, 4 is `--model`. The rest is the content of the file;
/// with `--model`, it is what the target `checkpoint` takes.
pub fn arguments(data: &[u8], folder: &Path) -> Option<Vec<String>> {
    let (&options, content) = data.split_first()?;
    let mut arguments = vec!["inspect".to_string()];
    let path = |name: &str| folder.join(name).display().to_string();
    if options & 4 != 0 {
        checkpoint::write(content, folder)?;
        arguments.extend(["--model".into(), path("vae")]);
    } else {
        if Picture::size_of(content).is_ok_and(|(w, h)| w.saturating_mul(h) > picture::MOST_PIXELS) {
            return None;
        }
        fs::write(folder.join("file"), content).expect("a file");
        arguments.push(path("file"));
        if options & 2 != 0 {
            if Latents::peek(content).is_ok_and(|(_, latents)| latents.tensor.elem_count() > MOST_VALUES) {
                return None;
            }
            arguments.extend(["-o".into(), path("plates.png")]);
        }
    }
    if options & 1 != 0 {
        arguments.push("--json".into());
    }
    Some(arguments)
}
