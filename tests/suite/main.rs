//! All tests, in one binary:
//!
//! | file | what |
//! | --- | --- |
//! | `golden` | every stage of the model against tensors from diffusers |
//! | `family` | the other VAEs of the family against diffusers |
//! | `networks` | the TAESD family, Wan 2.1 and Qwen-Image against tensors from diffusers |
//! | `stock` | the same weights in candle-transformers' AutoEncoderKL |
//! | `kernels` | every kernel at every level of this machine against its definition in f64 |
//! | `pictures` | formats, orientation, alpha, 16 bits |
//! | `resize` | Pillow's resize |
//! | `jpegs` | JPEG files against Pillow, and damaged ones |
//! | `threads` | equal results on any number of threads, and one model on several threads at once |
//! | `random` | torch's generator |
//! | `metrics` | scikit-image's PSNR, SSIM and differences |
//! | `figures` | layouts of figures against reference pictures, and grids against the tutorial's paste |
//! | `encode_decode` | the program as a process: its output files |
//! | `see` | the program as a process: figures, sweeps, grids, pictures in the terminal |
//! | `previews` | the program as a process: models of the TAESD family, and of Wan |
//! | `usage` | the program as a process: names, standard streams, exit codes |
//! | `outputs` | the program as a process: output folders, their faults, and several processes |
//! | `kills` | the program as a process: signals, and what killed runs leave |
//! | `resume` | the program as a process: which existing outputs are kept, and which are made again |
//! | `devices` | the program as a process: the choice of the device, and failures |
//! | `memory` | the program as a process: pictures that do not fit into memory |
//! | `faulty_devices` | the program as a process: wrong results, failures and overflows on the emulated CUDA device |
//! | `bad_input` | the program as a process: many kinds of damaged files |
//! | `checkpoints` | folders, files, older tensor names, wrong tensors |
//! | `scalings` | the scaling: options, evidence, refusals, warnings; `docs/models.md` |
//! | `single_files` | checkpoints in single files under other names, configs from shapes, files that are no VAE, `convert` |
//! | `pickles` | PyTorch's checkpoints: values, what is refused, memory |
//! | `trace` | the output of `--trace` against forward hooks in diffusers |
//! | `terminal` | the program as a process: no control characters, backtraces and credentials in what it prints |
//! | `inspect` | the program as a process: `inspect` and `doctor` |
//! | `hub` | downloads from a local hub server |
//! | `fuzz_seeds` | the fuzz targets on their seeds |
//!
//! `support` contains the formula weights, a model folder, an assembler of pickles, the process, the hub server and the comparison of pictures.
//! `tests/golden/make.py`, `family.py`, `networks.py`, `jpegs.py`, `pickles.py` and `single_files.py` write the golden data.

mod bad_input;
mod checkpoints;
mod devices;
mod encode_decode;
mod family;
mod faulty_devices;
mod figures;
mod fuzz_seeds;
mod golden;
mod hub;
mod inspect;
mod jpegs;
mod kernels;
#[cfg(unix)]
mod kills;
mod memory;
mod metrics;
mod networks;
mod outputs;
mod pickles;
mod pictures;
mod previews;
mod random;
mod resize;
mod resume;
mod scalings;
mod see;
mod single_files;
mod stock;
mod support;
mod terminal;
mod threads;
mod trace;
mod usage;
