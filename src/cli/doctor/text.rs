//! The human-readable report.

use std::fmt;

use vae::escape::one_line;
use vae::numbers::bytes;

use super::DoctorReport;
use super::self_check::CheckedPrecision;
use super::self_test::{BOUND, SIZE, SelfTest};

impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, build, cpu, memory, devices, cuda_problems, hub, self_tests, self_checks } = self;
        let cuda = if build.features.contains(&"cuda") { "with" } else { "without" };
        let (target, profile) = (&build.target, build.profile);
        writeln!(f, "vae          {version}, {target}, {profile} build {cuda} CUDA")?;
        let available = cpu.available.join(", ");
        writeln!(f, "CPU          {} (available: {available}), {} threads", cpu.level, cpu.threads)?;
        let limit = memory
            .limit
            .as_ref()
            .map(|limit| format!("{} allowed by {}, ", bytes(limit.bytes), limit.source));
        let (total, free) = (memory.total.map_or("?".into(), bytes), memory.free.map_or("?".into(), bytes));
        writeln!(f, "memory       {total}, {}{free} free", limit.unwrap_or_default())?;
        writeln!(f, "devices      {}", devices.join(", "))?;
        for problem in cuda_problems {
            writeln!(f, "CUDA error   {problem}")?;
        }
        writeln!(f, "cache        {}", one_line(&hub.cache.display().to_string()))?;
        let offline = if hub.offline { "in offline mode (HF_HUB_OFFLINE)" } else { "not in offline mode" };
        writeln!(f, "hub          {}, {offline}", one_line(&hub.endpoint))?;
        match &hub.default_model {
            Some(id) => writeln!(f, "sd2          {id}, in the cache")?,
            None => writeln!(f, "sd2          not in the cache")?,
        }
        self_tests.iter().try_for_each(|test| write!(f, "{test}"))?;
        self_checks.iter().try_for_each(|check| write!(f, "{check}"))
    }
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, device) = (if self.passed { "passed" } else { "FAILED" }, &self.device);
        writeln!(f, "self-test    {verdict} on {device}: the built-in model, {}×{} pixels", SIZE.0, SIZE.1)?;
        if let Some(error) = &self.error {
            writeln!(f, "             {error}")?;
        }
        let Some(outcome) = &self.outcome else { return Ok(()) };
        let (latents, picture) = (outcome.encode_difference, outcome.decode_difference);
        writeln!(
            f,
            "             relative difference from candle-transformers: {latents:.1e} (latents), {picture:.1e} (picture); \
             limit {BOUND:.0e}"
        )?;
        let (ms, stock_ms) = (outcome.ms, outcome.stock_ms);
        writeln!(f, "             time: {ms:.0} ms; candle-transformers: {stock_ms:.0} ms")?;
        if let Some([fused, plain, fallback]) = outcome.convolutions {
            writeln!(
                f,
                "             convolutions: {fused} shapes with the bias fused, {plain} without, {fallback} on the fallback \
                 algorithm (IMPLICIT_GEMM)"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for CheckedPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = |passed: bool| if passed { "passed" } else { "FAILED" };
        let (now, device, precision) = (verdict(self.passed), &self.device, self.precision);
        write!(f, "self-check   {now} on {device} in {precision}")?;
        if let (Some(difference), Some(bound)) = (self.difference, self.bound) {
            write!(f, ": relative difference from the CPU {difference:.1e}, limit {bound:.0e}")?;
        }
        if let Some(before) = self.passed_before {
            write!(f, "; {} before", verdict(before))?;
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))?;
        writeln!(f)
    }
}
