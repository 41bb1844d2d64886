//! Decides whether a result that exists in `--out-dir` is kept or made again.
//!
//! It is kept if it states that it was made from this input, by this model, with these settings. A result of vae that
//! differs or is damaged is made again. A file of another program is never replaced.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use vae::latents::{Header, LatentsError};
use vae::picture::{Described, Format};

use super::input::InputBytes;
use super::output::{Destination, WrittenByAnother};
use super::recipe::{Recipe, Stored, from_json};
use super::session::Session;

/// What happens to one result.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// It is made, and written to `destination`.
    Make {
        destination: Destination,
        /// Why a result of an earlier run is replaced.
        because: Option<String>,
    },
    /// The result of an earlier run is kept.
    Keep {
        /// What it states.
        stored: Stored,
        /// Whether it is known to be what would be made now.
        checked: bool,
    },
}

impl Decision {
    /// Whether there is nothing to do.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep { .. })
    }
}

/// How the results of earlier runs are treated.
pub struct Resume<'a> {
    pub session: &'a Session<'a>,
    /// Whether every existing file is kept, without a comparison.
    pub keep_existing: bool,
}

/// A file that has the name of a result.
enum Existing {
    /// A complete result of vae.
    Result(Stored),
    /// A result of vae that cannot be used, and why.
    Damaged(&'static str),
    /// From another program, or not recognizable.
    Foreign,
}

impl Resume<'_> {
    /// Decides about the result that `recipe` makes of `bytes`.
    pub fn decide(
        &self,
        destination: &Destination,
        recipe: &Recipe,
        bytes: &mut InputBytes,
    ) -> Result<Decision> {
        let path = match destination {
            Destination::Kept(path) if destination.is_done() => path,
            _ => return Ok(Decision::Make { destination: destination.clone(), because: None }),
        };
        if self.keep_existing {
            let stored = match Existing::read(path) {
                Ok(Existing::Result(stored)) => stored,
                _ => Stored::new(),
            };
            return Ok(Decision::Keep { stored, checked: false });
        }
        let because = match Existing::read(path)? {
            Existing::Damaged(reason) => reason.to_string(),
            Existing::Result(stored) => match self.difference(&stored, recipe, bytes)? {
                None => return Ok(Decision::Keep { stored, checked: true }),
                Some(reason) => reason,
            },
            Existing::Foreign => bail!(
                "{} exists already and does not look like a result of vae: \
                 add --overwrite to replace it, or --keep-existing to keep it",
                path.display()
            ),
        };
        Ok(Decision::Make { destination: Destination::Named(path.clone()), because: Some(because) })
    }

    /// Writes a result that was made, which `recipe` describes. First decides again about a file that exists by now: the
    /// work took a while. Returns the decision that holds.
    pub fn write(
        &self,
        destination: &Destination,
        recipe: &Recipe,
        bytes: &mut InputBytes,
        file: &[u8],
    ) -> Result<Decision> {
        loop {
            let decision = self.decide(destination, recipe, bytes)?;
            let Decision::Make { destination, .. } = &decision else { return Ok(decision) };
            match destination.write(file) {
                Err(error) if error.is::<WrittenByAnother>() => {}
                result => return result.map(|()| decision),
            }
        }
    }

    /// Returns why a result that states `stored` is not what would be made now. What needs no model is compared first.
    fn difference(&self, stored: &Stored, recipe: &Recipe, bytes: &mut InputBytes) -> Result<Option<String>> {
        if !stored.contains_key("input_sha256") {
            return Ok(Some("it does not say which input it was made from".into()));
        }
        if let Some(difference) = recipe.difference(stored) {
            return Ok(Some(difference));
        }
        if !bytes.is(stored)? {
            return Ok(Some("the input is another one".into()));
        }
        Ok(Recipe::of_model(self.session)?.difference(stored))
    }
}

impl Existing {
    /// Reads as little as possible of the file at `path`.
    fn read(path: &Path) -> Result<Self> {
        let unreadable = || format!("cannot read {}, which exists already", path.display());
        let metadata = fs::metadata(path).with_context(unreadable)?;
        if !metadata.is_file() {
            return Ok(Self::Foreign);
        }
        if metadata.len() == 0 {
            return Ok(Self::Damaged("it was empty"));
        }
        if Format::from_path(path, 100).is_err() {
            return Self::of_latents(path).with_context(unreadable);
        }
        Ok(match Described::read(path).with_context(unreadable)? {
            None => Self::Foreign,
            Some(Described { is_complete: false, .. }) => Self::Damaged(INCOMPLETE),
            Some(Described { description, .. }) => {
                from_json(&description).map_or(Self::Foreign, Self::Result)
            }
        })
    }

    fn of_latents(path: &Path) -> Result<Self> {
        let header = match Header::open(path) {
            Ok(header) => header,
            Err(LatentsError::CutOff { ours: true }) => return Ok(Self::Damaged(INCOMPLETE)),
            Err(LatentsError::Read(error)) => return Err(error.into()),
            Err(_) => return Ok(Self::Foreign),
        };
        Ok(match header.metadata() {
            None => Self::Foreign,
            Some(_) if !header.is_complete() => Self::Damaged(INCOMPLETE),
            Some(metadata) => Self::Result(metadata.clone().into_iter().collect()),
        })
    }
}

const INCOMPLETE: &str = "it was incomplete";
