//! The tests, in one binary. Each file is a map entry:
//!
//! | file | what |
//! | --- | --- |
//! | `golden` | every stage of the model against tensors from diffusers |
//! | `stock` | the same weights in candle-transformers' AutoEncoderKL |
//! | `kernels` | every kernel at every level of this machine against its definition in f64 |
//! | `pictures` | Pillow's resize; formats, orientation, alpha, 16 bits |
//! | `random` | torch's generator |
//! | `metrics` | scikit-image's PSNR, SSIM and differences |
//! | `figures` | layouts of figures against pictures of them, and grids against the tutorial's paste |
//! | `encode_decode` | the program as a process: what it writes |
//! | `see` | the program as a process: figures, sweeps, grids, pictures in the terminal |
//! | `usage` | the program as a process: names, standard streams, exit codes |
//! | `devices` | the program as a process: where it computes, and what it does where that fails |
//! | `bad_input` | the program as a process: broken files by the dozen |
//! | `checkpoints` | folders, files, old spellings, wrong tensors |
//! | `trace` | what `--trace` says against forward hooks in diffusers |
//! | `inspect` | the program as a process: `inspect` and `doctor` |
//! | `hub` | downloads from a hub on this machine |
//!
//! `support` has the weights from a formula, a model folder, the process, the hub, the comparing of pictures.
//! `tests/golden/make.py` makes the golden data.

mod bad_input;
mod checkpoints;
mod devices;
mod encode_decode;
mod figures;
mod golden;
mod hub;
mod inspect;
mod kernels;
mod metrics;
mod pictures;
mod random;
mod see;
mod stock;
mod support;
mod trace;
mod usage;
