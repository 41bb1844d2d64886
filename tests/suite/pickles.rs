//! PyTorch's checkpoints: files of `torch.save`, and files of strangers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::var_builder::SimpleBackend;
use serde_json::json;

use vae::checkpoint::Weights;
use vae::checkpoint::pickle::{Container, Pickle};
use vae::model::Tensors;

use crate::fuzz_seeds::targets::pickle::{crc32, zip};
use crate::support::model_folder::{self, Folder};
use crate::support::pickle::*;
use crate::support::process::{Run, command, run, vae, write_png};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pickles");
const FILES: [&str; 5] = ["zip", "legacy", "protocol_4", "training", "training_legacy"];

/// The storage `0` of most files here: 16 floats.
const VALUES: [u8; 64] = [0x3c; 64];

fn values(weights: &Weights, name: &str) -> Vec<f64> {
    let tensor = weights.get_unchecked(name, DType::F64, &Device::Cpu).expect("a tensor");
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("values")
}

/// Opens a file with this content.
fn open(content: &[u8]) -> Result<Weights, String> {
    let folder = Folder::new();
    let path = folder.path("some.ckpt");
    fs::write(&path, content).expect("a file");
    Weights::open(&path).map_err(|e| e.to_string())
}

/// A dict with one tensor, of the 16 floats in storage `0`.
fn with_tensor(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    pickle(&dict(&[("x", tensor(storage("Float", "0", 16), offset, shape, strides))]))
}

/// The same in a zip file.
fn file_with_tensor(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    archive(&with_tensor(offset, shape, strides), &[("0", &VALUES)])
}

fn good() -> Vec<u8> {
    file_with_tensor(0, &[4, 4], &[4, 1])
}

#[test]
fn files_of_torch_have_the_values_of_their_safetensors_twin() {
    let twin = Weights::open(&Path::new(GOLDEN).join("twin.safetensors")).expect("weights");
    for name in FILES {
        let weights = Weights::open(&Path::new(GOLDEN).join(format!("{name}.pt"))).expect(name);
        assert_eq!(weights.contents().tensors, twin.contents().tensors, "{name}");
        for tensor in twin.contents().tensors {
            let (wanted, found) = (
                Tensors::get(&twin, &tensor.name, &tensor.shape),
                Tensors::get(&weights, &tensor.name, &tensor.shape),
            );
            match (wanted, found) {
                (Ok(wanted), Ok(found)) => {
                    assert_eq!(
                        wanted.to_f32().expect("floats"),
                        found.to_f32().expect("floats"),
                        "{tensor:?}"
                    );
                    assert_eq!(
                        values(&twin, &tensor.name),
                        values(&weights, &tensor.name),
                        "{name}: {tensor:?}"
                    );
                }
                (Err(_), Err(e)) => {
                    assert!(["I64", "BOOL"].contains(&tensor.dtype.as_str()), "{tensor:?}");
                    assert!(e.to_string().contains("cannot be read; use weights in F16"), "{e}");
                }
                (wanted, found) => panic!("{name}: {tensor:?}: {wanted:?}, {found:?}"),
            }
        }
        let error =
            Tensors::get(&weights, "whole", &[7, 5]).map(drop).expect_err("another shape").to_string();
        assert!(error.contains("`whole` has shape [5, 7]"), "{error}");
    }
}

#[test]
fn a_model_in_a_pickle_gives_the_same_latents_whatever_its_file_is_called() {
    let folder = Folder::with_model();
    write_png(&folder.path("p.png"), 64, 32);
    let encode = || {
        vae(&folder, "encode p.png -o l.safetensors --mean --model model").code(0);
        let bytes = fs::read(folder.path("l.safetensors")).expect("a file");
        let latents = vae::latents::Latents::from_safetensors(&bytes).expect("latents");
        crate::support::golden::values(&latents.tensor)
    };
    let wanted = encode();
    let tensors: BTreeMap<String, Tensor> = model_folder::tensors().into_iter().collect();
    let (mut items, mut storages) = (Vec::new(), Vec::new());
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        let shape: Vec<i64> = tensor.dims().iter().map(|&side| side as i64).collect();
        let strides: Vec<i64> = tensor.stride().iter().map(|&stride| stride as i64).collect();
        let bytes: Vec<u8> =
            crate::support::golden::values(tensor).iter().flat_map(|value| value.to_le_bytes()).collect();
        let count = tensor.elem_count() as i64;
        items.push((
            name.as_str(),
            self::tensor(storage("Float", &i.to_string(), count), 0, &shape, &strides),
        ));
        storages.push((i.to_string(), count, bytes));
    }
    let object = pickle(&dict(&[("state_dict", dict(&items))]));
    let zipped: Vec<(&str, &[u8])> =
        storages.iter().map(|(key, _, bytes)| (key.as_str(), &bytes[..])).collect();
    let plain: Vec<(&str, i64, &[u8])> =
        storages.iter().map(|(key, count, bytes)| (key.as_str(), *count, &bytes[..])).collect();
    for content in [archive(&object, &zipped), legacy(&object, &plain)] {
        for name in ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"] {
            fs::remove_file(folder.path("model/diffusion_pytorch_model.safetensors")).ok();
            fs::write(folder.path("model").join(name), &content).expect("a file");
            assert_eq!(encode(), wanted);
        }
    }
}

#[test]
fn state_dicts_are_found_inside_of_other_dicts() {
    let tensors = |name: &str| dict(&[(name, tensor(storage("Float", "0", 16), 0, &[2], &[1]))]);
    let nested = |times: usize| (0..times).fold(tensors("x"), |inner, _| dict(&[("a", inner)]));
    for (value, wanted) in [
        (tensors("x"), Ok("x")),
        (dict(&[("epoch", int(3)), ("state_dict", tensors("x"))]), Ok("x")),
        (dict(&[("state_dict", dict(&[("state_dict", tensors("x")), ("b", int(1))]))]), Ok("x")),
        (dict(&[("model", tensors("m")), ("optimizer", tensors("x"))]), Ok("m")),
        (dict(&[("model", tensors("m")), ("state_dict", tensors("x"))]), Ok("x")),
        (nested(8), Ok("x")),
        (nested(9), Err("more than 8 other dicts")),
        (dict(&[("a", tensors("x")), ("b", tensors("x"))]), Err("several dicts of tensors (`a`, `b`)")),
        (dict(&[]), Err("no tensors with names")),
        (tensor(storage("Float", "0", 16), 0, &[2], &[1]), Err("does not hold a dict of tensors")),
        (call(global("diffusers", "AutoencoderKL"), &[]), Err("does not hold a dict of tensors")),
    ] {
        match (open(&archive(&pickle(&value), &[("0", &VALUES)])), wanted) {
            (Ok(weights), Ok(name)) => assert_eq!(weights.contents().tensors[0].name, name),
            (Err(e), Err(reason)) => assert!(e.contains(reason), "{e}"),
            (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn views_are_read_by_their_strides() {
    let numbers: Vec<u8> = (0..16).flat_map(|i| (i as f32).to_le_bytes()).collect();
    for (offset, shape, strides, wanted) in [
        (1, &[2, 3][..], &[3, 1][..], &[1., 2., 3., 4., 5., 6.][..]),
        (0, &[3, 2], &[1, 3], &[0., 3., 1., 4., 2., 5.]),
        (5, &[2, 2], &[0, 10], &[5., 15., 5., 15.]),
        (15, &[], &[], &[15.]),
        (15, &[1, 1], &[7, 9], &[15.]),
        (16, &[0], &[1], &[]),
    ] {
        let object = with_tensor(offset, shape, strides);
        for content in [archive(&object, &[("0", &numbers)]), legacy(&object, &[("0", 16, &numbers)])] {
            let weights = open(&content).expect("weights");
            assert_eq!(values(&weights, "x"), wanted, "{offset}, {shape:?}, {strides:?}");
        }
    }
}

/// Changes the bytes at `offset` after each place in `file` where `marker` is.
fn patched(mut file: Vec<u8>, marker: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..file.len()).filter(|&i| file[i..].starts_with(marker)).collect();
    assert!(!places.is_empty());
    for place in places {
        file[place + offset..][..bytes.len()].copy_from_slice(bytes);
    }
    file
}

#[test]
fn hostile_files_are_refused_and_named() {
    const CENTRAL: &[u8] = b"PK\x01\x02";
    const LOCAL: &[u8] = b"PK\x03\x04";
    assert!(open(&good()).is_ok());
    let raw = |object: &[u8]| archive(&pickle(object), &[("0", &VALUES)]);
    let huge = i64::MAX;
    let cut = |file: Vec<u8>, less: usize| file[..file.len() - less].to_vec();
    let many = |what: &[u8], count: usize| raw(&what.repeat(count));
    let one = dict(&[("x", tensor(storage("Float", "0", 16), 0, &[16], &[1]))]);
    let plain = |keys: &[(&str, i64, &[u8])]| legacy(&pickle(&one), keys);
    let good_legacy = plain(&[("0", 16, &VALUES)]);
    assert!(open(&good_legacy).is_ok());
    let object = with_tensor(0, &[16], &[1]);
    for (file, reason) in [
        // Storages and views.
        (
            file_with_tensor(1, &[4, 4], &[4, 1]),
            "tensor `x`: its shape [4, 4], strides [4, 1] and offset 1 reach beyond",
        ),
        (file_with_tensor(0, &[4, 4], &[5, 1]), "reach beyond its 16 values"),
        (file_with_tensor(16, &[1], &[1]), "reach beyond"),
        (file_with_tensor(huge, &[2], &[1]), "reach beyond"),
        (file_with_tensor(0, &[2], &[huge]), "reach beyond"),
        (file_with_tensor(0, &[huge, 3], &[huge, huge]), "too large"),
        (file_with_tensor(0, &[1 << 40, 1 << 40, 0], &[1, 1, 1]), "too large"),
        (file_with_tensor(0, &[1 << 20, 1 << 20], &[0, 0]), "more values than the file"),
        (file_with_tensor(-1, &[2], &[1]), "numbers that are not negative"),
        (file_with_tensor(0, &[-2], &[1]), "numbers that are not negative"),
        (file_with_tensor(0, &[2, 2], &[-2, 1]), "numbers that are not negative"),
        (file_with_tensor(0, &[2, 2], &[1]), "numbers that are not negative"),
        (file_with_tensor(0, &[1; 9], &[1; 9]), "at most 8 dimensions"),
        (raw(&dict(&[("x", tensor(storage("Float", "1", 16), 0, &[1], &[1]))])), "no storage `1`"),
        (
            raw(&dict(&[("x", tensor(storage("Float", "0", 17), 0, &[1], &[1]))])),
            "must have 17 values of 4 bytes",
        ),
        (raw(&dict(&[("x", tensor(storage("Double", "0", 16), 0, &[1], &[1]))])), "has 64 bytes"),
        (raw(&dict(&[("x", tensor(storage("Float", "0", -16), 0, &[1], &[1]))])), "must have -16 values"),
        (raw(&dict(&[("x", tensor(storage("Double", "0", huge), 0, &[1], &[1]))])), "must have"),
        (raw(&dict(&[("x", tensor(storage("Odd", "0", 16), 0, &[1], &[1]))])), "no tensors with names"),
        (
            raw(&dict(&[("x", call(global("torch._utils", "_rebuild_tensor_v2"), &[int(1)]))])),
            "no tensors with names",
        ),
        (
            raw(&dict(&[("x", call(global("torch._utils", "_rebuild_parameter"), &[]))])),
            "no tensors with names",
        ),
        (
            raw(&dict(&[(
                "x",
                call(
                    global("torch._utils", "_rebuild_tensor_v2"),
                    &[
                        storage("Float", "0", 16),
                        int(0),
                        ints(&[16]),
                        ints(&[1]),
                        vec![0x89],
                        b"N".to_vec(),
                        dict(&[("neg", vec![0x88])]),
                    ],
                ),
            )])),
            "a negative or conjugate bit",
        ),
        (
            raw(&dict(&[("ema", one.clone()), ("params", one.clone())])),
            "several dicts of tensors (`ema`, `params`)",
        ),
        // Operations.
        (raw(b""), "takes more from the stack"),
        (raw(b"("), "takes more from the stack"),
        (raw(b"(0N(R"), "takes more from the stack"),
        (raw(b"}N(s"), "takes more from the stack"),
        (raw(b"u"), "takes more from the stack"),
        (raw(b"}(Nu"), "a key without a value"),
        (raw(b"h\x07"), "uses value 7 before it is there"),
        (raw(b"gx\n"), "needs an index"),
        (raw(b"Np-1\n"), "needs an index"),
        (raw(b"p99999999999\n"), "a value 99999999999"),
        (raw(b"NN\x93"), "by something that is not a text"),
        (raw(b"S'o\\x73'\nVsystem\n\x93"), "by something that is not a text"),
        (raw(b"\x82\x01"), "the operation 0x82, which is not read"),
        (raw(b"\x97"), "the operation 0x97"),
        (raw(b"\xff"), "the operation 0xff"),
        (archive(b"\x80\x02}", &[]), "is cut off"),
        (archive(b"", &[]), "is cut off"),
        (raw(b"X\xff\xff\xff\xff"), "is cut off"),
        (raw(b"B\xff\xff\xff\xff"), "is cut off"),
        (raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "is cut off"),
        (raw(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"), "is cut off"),
        (raw(b"\x8b\xff\xff\xff\xff"), "is cut off"),
        (raw(&[b"c", &[b'a'; 5000][..], b"\nb\n"].concat()), "a line of more than"),
        (many(b"N", 2_000_001), "more than 2000000 operations"),
        (many(b"(", 2_000_001), "more than 2000000 operations"),
        (
            raw(&(0..10_001).flat_map(|i| global("m", &i.to_string())).collect::<Vec<_>>()),
            "names more than 10000",
        ),
        (raw(&[b"X\0\0\0\x02".as_slice(), &vec![b'a'; 33 << 20]].concat()), "has more than 33554432 bytes"),
        (legacy(&[b"B\0\0\0\x02".as_slice(), &vec![b'a'; 33 << 20]].concat(), &[]), "longer than 32 MiB"),
        // Dicts in dicts, without an end.
        (raw(&[b"}q\x01", &text("model")[..], b"h\x01s"].concat()), "more than 8 other dicts"),
        (raw(&[b"]q\x01h\x01a", &one[..], b"a"].concat()), "does not hold a dict of tensors"),
        // The zip file.
        (zip(&[("a/data/0", &VALUES)]), "not with one `data.pkl`"),
        (zip(&[("data.pkl", &object), ("data/0", &VALUES)]), "not with one `data.pkl`"),
        (zip(&[("a/data.pkl", &object), ("b/data.pkl", &object)]), "not with one `data.pkl`"),
        (zip(&[("a/data.pkl", &object), ("a/data.pkl", &object)]), "the same name"),
        (zip(&[("a/byteorder", b"big"), ("a/data.pkl", &object), ("a/data/0", &VALUES)]), "big-endian"),
        (patched(good(), CENTRAL, 42, &[0; 4]), "the same bytes"),
        (patched(good(), CENTRAL, 42, &[0xf0; 4]), "damaged"),
        (patched(good(), CENTRAL, 20, &[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]), "the same bytes"),
        (patched(good(), CENTRAL, 24, &[1]), "compressed or encrypted"),
        (patched(patched(good(), CENTRAL, 10, &[8]), LOCAL, 8, &[8]), "compressed or encrypted"),
        (patched(patched(good(), CENTRAL, 8, &[1]), LOCAL, 6, &[1]), "compressed or encrypted"),
        (patched(good(), LOCAL, 0, b"XX")[..].to_vec(), "not a valid safetensors file"),
        (patched(good(), CENTRAL, 16, &[0x5a; 4]), "damaged"),
        (patched(good(), b"PK\x05\x06", 10, &[9]), "damaged"),
        (patched(good(), b"PK\x05\x06", 16, &[0xff; 4]), "damaged"),
        (cut(good(), 1), "damaged"),
        (cut(good(), 300), "damaged"),
        // The older container.
        (pickle(&one), "PyTorch did not write it"),
        (patched(good_legacy.clone(), &int(1001), 2, &[7]), "unknown version"),
        (patched(good_legacy.clone(), b"little_endian", 13, &[0x89]), "big-endian"),
        (plain(&[]), "no storage `0`"),
        (plain(&[("1", 16, &VALUES)]), "storage `1` has values of an unknown type"),
        (plain(&[("0", 15, &VALUES)]), "has 60 bytes"),
        (plain(&[("0", 17, &VALUES)]), "storage `0` is cut off"),
        (plain(&[("0", -1, &VALUES)]), "storage `0` is cut off"),
        (plain(&[("0", 1 << 61, &VALUES)]), "storage `0` is cut off"),
        (plain(&[("0", 16, &VALUES), ("0", 0, &[])]), "storage `0` twice"),
        (cut(good_legacy.clone(), 1), "storage `0` is cut off"),
        (cut(good_legacy, 80), "cut off"),
    ] {
        let e = open(&file).expect_err(reason);
        assert!(e.contains(reason) && e.contains("some.ckpt"), "{e}\ninstead of: {reason}");
    }
}

/// Calls of functions that create the file `marker` or would do other harm.
fn harmful() -> Vec<(Vec<u8>, &'static str)> {
    let touch = || text("touch marker");
    vec![
        (call(global("os", "system"), &[touch()]), "os.system"),
        (call(global("posix", "system"), &[touch()]), "posix.system"),
        (call(global("nt", "system"), &[touch()]), "nt.system"),
        (call(global("subprocess", "check_output"), &[touch()]), "subprocess.check_output"),
        (call(global("builtins", "eval"), &[text("open('marker', 'w')")]), "builtins.eval"),
        (
            call(global("builtins", "getattr"), &[global("os", "system"), text("__call__")]),
            "builtins.getattr",
        ),
        (call(global("torch", "os.system"), &[touch()]), "torch.os.system"),
        (call(global("torch.storage", "_load_from_bytes"), &[text("")]), "torch.storage._load_from_bytes"),
        (
            [text("os"), text("system"), b"\x93".to_vec(), tuple(&[touch()]), b"R".to_vec()].concat(),
            "os.system",
        ),
        (b"(Vtouch marker\nios\nsystem\n".to_vec(), "os.system"),
        ([b"(", &global("os", "system")[..], &touch(), b"o"].concat(), "os.system"),
        ([global("os", "system"), tuple(&[touch()]), vec![0x81]].concat(), "os.system"),
        ([b"S'os'\nS\"system\"\n\x93", &tuple(&[touch()])[..], b"R"].concat(), "os.system"),
        (global("webbrowser", "open"), "webbrowser.open"),
    ]
}

#[test]
fn dangerous_functions_are_refused_and_named_and_not_called() {
    let folder = Folder::new();
    for (value, name) in harmful() {
        let one = tensor(storage("Float", "0", 16), 0, &[16], &[1]);
        let object = pickle(&dict(&[("a", value.clone()), ("x", one)]));
        for (content, error) in [
            (archive(&object, &[("0", &VALUES)]), None),
            (legacy(&object, &[("0", 16, &VALUES)]), None),
            (pickle(&value), Some("PyTorch did not write it")),
            (
                archive(&value, &[]),
                Some("its pickle is cut off; the file may be incomplete, download it again"),
            ),
        ] {
            let e = open(&content).expect_err(name);
            assert!(e.contains(&format!("it names `{name}`, which can run code")), "{e}");
            fs::write(folder.path("bad.pt"), content).expect("a file");
            let report = &vae(&folder, "inspect bad.pt --json").code(0).json()[0];
            let globals = report["globals"].as_array().expect("globals");
            assert!(globals.contains(&json!({"name": name, "dangerous": true})), "{report}");
            match error {
                Some(reason) => {
                    assert!(report["error"].as_str().is_some_and(|e| e.contains(reason)), "{report}")
                }
                None => assert_eq!(
                    (&report["tensors"][0]["name"], &report["parameters"]),
                    (&json!("x"), &json!(16))
                ),
            }
            vae(&folder, "inspect bad.pt")
                .code(0)
                .prints(&["DANGEROUS: loading it in Python can run code", name]);
        }
    }
    assert_eq!(folder.files().into_iter().collect::<Vec<_>>(), ["bad.pt"], "something was executed");
}

#[test]
fn inspect_lists_the_tensors_and_the_globals_of_a_pickle() {
    let folder = Folder::new();
    for name in FILES {
        fs::copy(format!("{GOLDEN}/{name}.pt"), folder.path("w.pt")).expect("a file");
        let report = &vae(&folder, "inspect w.pt --json").code(0).json()[0];
        assert_eq!((&report["kind"], &report["input"]), (&json!("pickle"), &json!("w.pt")));
        assert_eq!((&report["parameters"], &report["error"]), (&json!(257), &json!(null)));
        assert_eq!(report["tensors"][1], json!({"name": "bool", "dtype": "BOOL", "shape": [3]}));
        let globals = report["globals"].as_array().expect("globals");
        assert!(globals.contains(&json!({"name": "torch._utils._rebuild_tensor_v2", "dangerous": false})));
        assert!(globals.iter().all(|global| global["dangerous"] == json!(false)), "{report}");
        let callback = json!({"name": "trainer.callbacks.Checkpoint", "dangerous": false});
        assert_eq!(globals.contains(&callback), name.starts_with("training"));
        let run = vae(&folder, "inspect w.pt").code(0);
        let run = run.prints(&[
            "w.pt: a checkpoint of PyTorch",
            "16 tensors, 257 values",
            "transposed [7, 5], F32",
        ]);
        assert!(!String::from_utf8_lossy(&run.stdout).contains("DANGEROUS"));
    }
    vae(&folder, "inspect w.pt -o plates.png").code(1).says(&["not a safetensors file"]);
    fs::write(folder.path("w.pt"), &good()[..200]).expect("a file");
    vae(&folder, "inspect w.pt")
        .code(1)
        .says(&["w.pt: cannot be read as a checkpoint of PyTorch: its zip file is damaged"]);
}

#[test]
fn names_in_pickles_are_escaped() {
    const NAME: &str = "a\u{1b}[31m\nb\u{202e}";
    let one = tensor(storage("Float", "0", 16), 0, &[16], &[1]);
    let odd = [text(NAME), text(NAME), b"\x93".to_vec()].concat();
    let bad = [text("os"), text(NAME), b"\x93".to_vec()].concat();
    let folder = Folder::new();
    for value in [odd, bad] {
        let content = archive(&pickle(&dict(&[(NAME, one.clone()), ("b", value)])), &[("0", &VALUES)]);
        fs::write(folder.path("w.pt"), content).expect("a file");
        let run =
            vae(&folder, "inspect w.pt").code(0).prints(&[r"a\u{1b}[31m\nb\u{202e} [16], F32", r".a\u{1b}["]);
        let text = String::from_utf8(run.stdout).expect("UTF-8");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
    }
}

/// Runs `vae inspect` with at most `megabytes` of address space.
#[cfg(target_os = "linux")]
fn inspect_within(folder: &Folder, megabytes: u64) -> Run {
    let vae = command(folder);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", r#"ulimit -v "$0" && exec "$@""#, &(megabytes * 1000).to_string()]);
    shell.arg(vae.get_program()).args(["inspect", "bomb.pt", "--json"]);
    shell.current_dir(folder.path("")).env_clear().envs(vae.get_envs().filter_map(|(k, v)| Some((k, v?))));
    run(shell)
}

#[cfg(target_os = "linux")]
#[test]
fn small_files_do_not_need_much_memory() {
    let folder = Folder::new();
    let raw = |object: &[u8]| archive(&pickle(object), &[("0", &VALUES)]);
    let view = |shape: &[i64]| tensor(storage("Float", "0", 16), 0, shape, &vec![0; shape.len()]);
    // A dict of many names for one tensor.
    let many_names = |shape: &[i64]| {
        let names: Vec<u8> =
            (0..480_000).flat_map(|i| [&text(&format!("{i:x}"))[..], b"h\x01"].concat()).collect();
        [view(shape), b"q\x010}(".to_vec(), names, b"u".to_vec()].concat()
    };
    let members: Vec<String> = (0..65_000).map(|i| i.to_string()).collect();
    let members: Vec<(&str, &[u8])> = members.iter().map(|name| (name.as_str(), &[][..])).collect();
    for (name, content) in [
        ("objects", raw(&b"}".repeat(1_999_990))),
        ("short texts", raw(&text("a").repeat(1_999_990))),
        ("long texts", raw(&text(&"\u{e9}".repeat(2000)).repeat(8000))),
        ("texts that are not UTF-8", raw(&[b"X\0\x10\0\0".as_slice(), &[0xff; 4096]].concat().repeat(8000))),
        ("tuples", raw(&b"N\x85".repeat(999_990))),
        ("memo", raw(&b"N\x94".repeat(999_990))),
        ("marks", raw(&b"(".repeat(1_999_990))),
        ("doubled lists", raw(&b"]q\x00]h\x00ah\x00aq\x00".repeat(90_000))),
        ("doubled dicts", raw(&[b"}q\x00".as_slice(), &b"}Nh\x00sKh\x00sq\x00".repeat(90_000)].concat())),
        ("many names", raw(&many_names(&[1; 8]))),
        ("many empty tensors", raw(&many_names(&[0, 1 << 40]))),
        ("many copies", raw(&many_names(&[4, 4]))),
        ("members", zip(&members)),
        ("length of a text", raw(b"X\xff\xff\xff\xff")),
        ("length of bytes", raw(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f")),
        ("length of a number", raw(b"\x8b\xff\xff\xff\x7f")),
    ] {
        fs::write(folder.path("bomb.pt"), content).expect("a file");
        let run = inspect_within(&folder, 420);
        assert!([0, 1].contains(&run.code), "{name}: {}, {}", run.code, run.stderr);
        assert!(!run.stderr.contains("memory"), "{name}: {}", run.stderr);
    }
}

/// The first and the last bytes of a zip64 file. Between them, storage `0` has `hole` bytes. Storage `1` is [`VALUES`].
fn zip64(hole: u64, object: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let local = |name: &str, size: u64, crc: u32| {
        let facts = [45u16, 0, 0, 0, 0].map(u16::to_le_bytes).concat();
        let sizes = [crc, u32::MAX, u32::MAX].map(u32::to_le_bytes).concat();
        let lengths = [name.len() as u16, 20].map(u16::to_le_bytes).concat();
        let extra = [&[1, 0, 16, 0][..], &size.to_le_bytes(), &size.to_le_bytes()].concat();
        [b"PK\x03\x04", &facts[..], &sizes, &lengths, name.as_bytes(), &extra].concat()
    };
    let head = local("a/data/0", hole, 0);
    let (mut tail, mut directory) = (Vec::new(), Vec::new());
    let start = head.len() as u64 + hole;
    let members = [("a/data/0", &[][..]), ("a/data.pkl", object), ("a/data/1", &VALUES[..])];
    for (i, (name, content)) in members.iter().enumerate() {
        let (offset, size) =
            if i == 0 { (0, hole) } else { (start + tail.len() as u64, content.len() as u64) };
        let facts = [45u16, 45, 0, 0, 0, 0].map(u16::to_le_bytes).concat();
        let sizes = [crc32(content), u32::MAX, u32::MAX].map(u32::to_le_bytes).concat();
        let lengths = [name.len() as u16, 28].map(u16::to_le_bytes).concat();
        let extra = [&[1, 0, 24, 0][..], &[size, size, offset].map(u64::to_le_bytes).concat()].concat();
        let entry =
            [b"PK\x01\x02", &facts[..], &sizes, &lengths, &[0; 10], &[0xff; 4], name.as_bytes(), &extra];
        directory.extend(entry.concat());
        if i > 0 {
            tail.extend(local(name, size, crc32(content)));
            tail.extend(*content);
        }
    }
    let (at, size, count) = (start + tail.len() as u64, directory.len() as u64, members.len() as u64);
    tail.extend(directory);
    let numbers = [count, count, size, at].map(u64::to_le_bytes).concat();
    tail.extend([b"PK\x06\x06", &44u64.to_le_bytes()[..], &[45, 0, 45, 0], &[0; 8], &numbers].concat());
    tail.extend([b"PK\x06\x07\0\0\0\0", &(at + size).to_le_bytes()[..], &[1, 0, 0, 0]].concat());
    tail.extend([b"PK\x05\x06\0\0\0\0", &[0xff; 12][..], &[0; 2]].concat());
    (head, tail)
}

#[cfg(unix)]
#[test]
fn a_file_of_more_than_four_gigabytes_is_read() {
    use std::os::unix::fs::FileExt;

    const HOLE: u64 = 5 << 30;
    let one = |key: &str, count, offset| tensor(storage("Float", key, count), offset, &[2, 2], &[2, 1]);
    let count = (HOLE / 4) as i64;
    let object = pickle(&dict(&[("far", one("0", count, count - 4)), ("last", one("1", 16, 12))]));
    let (head, tail) = zip64(HOLE, &object);
    let folder = Folder::new();
    let path = folder.path("large.ckpt");
    let file = fs::File::create(&path).expect("a file"); // sparse
    file.write_all_at(&head, 0).expect("written");
    file.write_all_at(&tail, head.len() as u64 + HOLE).expect("written");
    file.write_all_at(&7f32.to_le_bytes(), head.len() as u64 + HOLE - 8).expect("written");
    let weights = Weights::open(&path).expect("weights");
    assert_eq!(values(&weights, "far"), [0.0, 0.0, 7.0, 0.0]);
    assert_eq!(values(&weights, "last"), vec![f64::from(f32::from_le_bytes([0x3c; 4])); 4]);
}

#[test]
fn the_container_is_recognized_by_the_first_bytes() {
    assert_eq!(Container::of(&good()), Some(Container::Zip));
    assert_eq!(Container::of(&pickle(b"N")), Some(Container::Legacy));
    for other in [&b""[..], b"PK", b"PK\x05\x06", b"\x80", b"\x80\x09", b"\x08\0\0\0\0\0\0\0{}"] {
        assert_eq!(Container::of(other), None, "{other:?}");
    }
    // Safetensors whose header has 0x04034b50 bytes, which reads `PK\x03\x04`.
    let e = open(&[&0x0403_4b50u64.to_le_bytes()[..], b"{}"].concat()).expect_err("too short");
    assert!(e.contains("not a valid safetensors file"), "{e}");
}

#[test]
fn errors_of_the_file_are_not_called_a_wrong_content() {
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    impl std::io::Seek for Failing {
        fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
            Ok(1000)
        }
    }
    for container in [Container::Zip, Container::Legacy] {
        let e = Pickle::read(Failing, 1000, container).map(drop).expect_err("cannot be read");
        assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied);
    }
}
