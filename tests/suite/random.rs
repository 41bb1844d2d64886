//! torch's CPU generator, compared with numbers from torch itself.

use vae::noise::Generator;

use crate::support::golden::Golden;

fn max_difference(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    got.iter().zip(wanted).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max)
}

#[test]
fn every_seed_and_length_gives_the_numbers_of_torch() {
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
            "randn" => assert!(max_difference(&generator.randn(wanted.len()), &wanted) < 5e-7, "{name}"),
            _ => continue,
        }
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} tensors were compared");
}

#[test]
fn successive_draws_from_one_generator_agree_with_torch() {
    let golden = Golden::open("random.safetensors");
    let mut generator = Generator::new(42);
    for part in ["randn_a", "randn_b", "rand_c", "randn_d", "randn_e", "randn_f"] {
        let name = part.replace('_', "_seq_42_");
        let wanted = golden.values(&name);
        let draw = if name.starts_with("randn") { Generator::randn } else { Generator::rand };
        assert!(max_difference(&draw(&mut generator, wanted.len()), &wanted) < 5e-7, "{name}");
    }
}
