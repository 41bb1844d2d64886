//! What an error says to the user.

use std::error::Error;

use candle_core::Error as CandleError;

use vae::figure::FigureError;
use vae::latents::LatentsError;
use vae::picture::PictureError;

/// Describes an error and its causes in one line, without the backtraces that candle's errors have in their text if
/// `RUST_BACKTRACE` is set.
pub fn message(error: &anyhow::Error) -> String {
    let texts: Vec<String> = error.chain().map(text).collect();
    texts.join(": ")
}

fn text(error: &(dyn Error + 'static)) -> String {
    candle_error(error).map_or_else(|| error.to_string(), candle_text)
}

/// Returns candle's error, if this is one or has the same text as one.
fn candle_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CandleError> {
    if let Some(LatentsError::Candle(e)) = error.downcast_ref() {
        return Some(e);
    }
    if let Some(PictureError::Candle(e)) = error.downcast_ref() {
        return Some(e);
    }
    if let Some(FigureError::Candle(e)) = error.downcast_ref() {
        return Some(e);
    }
    error.downcast_ref()
}

fn candle_text(error: &CandleError) -> String {
    match error {
        CandleError::WithBacktrace { inner, .. } => candle_text(inner),
        CandleError::Context { inner, context } => format!("{context}: {}", candle_text(inner)),
        CandleError::WithPath { inner, path } => format!("{}: {}", path.display(), candle_text(inner)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;

    use super::*;

    #[test]
    fn backtraces_are_left_out_at_every_depth() {
        let traced = |inner: CandleError| CandleError::WithBacktrace {
            inner: Box::new(inner),
            backtrace: Box::new(Backtrace::force_capture()),
        };
        let error = || traced(traced(CandleError::Msg("the cause".into())).context("the place"));
        assert!(error().to_string().lines().count() > 2, "candle prints backtraces");
        assert_eq!(message(&error().into()), "the place: the cause");
        let latents = anyhow::Error::from(LatentsError::from(error())).context("a file");
        assert_eq!(message(&latents), "a file: the place: the cause");
        assert_eq!(message(&PictureError::from(error()).into()), "the place: the cause");
        assert_eq!(message(&FigureError::from(error()).into()), "the place: the cause");
    }
}
