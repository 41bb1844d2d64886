//! torch's CPU generator, against draws of torch itself.

use vae::noise::Generator;

use crate::support::golden::Golden;

fn most(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    got.iter().zip(wanted).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max)
}

#[test]
fn every_seed_and_length_gives_torchs_numbers() {
    let golden = Golden::open("random.safetensors");
    let mut compared = 0;
    for name in golden.names() {
        let parts: Vec<&str> = name.split('_').collect();
        let [kind, seed, _] = parts[..] else { continue };
        let Ok(seed) = seed.parse::<u64>() else { continue };
        let wanted = golden.values(name);
        let mut generator = Generator::new(seed);
        match kind {
            "rand" => assert_eq!(generator.rand(wanted.len()), wanted, "{name}"),
            "randn" => assert!(most(&generator.randn(wanted.len()), &wanted) < 5e-7, "{name}"),
            _ => continue,
        }
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} draws were compared");
}

#[test]
fn draws_from_one_generator_follow_each_other() {
    let golden = Golden::open("random.safetensors");
    let mut generator = Generator::new(42);
    for part in ["a", "b", "c", "d", "e", "f"] {
        let (name, normal) = if part == "c" {
            ("rand_seq_42_c".into(), false)
        } else {
            (format!("randn_seq_42_{part}"), true)
        };
        let wanted = golden.values(&name);
        let got = if normal { generator.randn(wanted.len()) } else { generator.rand(wanted.len()) };
        assert!(most(&got, &wanted) < 5e-7, "{name}");
    }
}
