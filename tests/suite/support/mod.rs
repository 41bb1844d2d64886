//! What the tests share.

pub mod cuda;
pub mod formula;
pub mod golden;
pub mod hub_server;
pub mod looks;
pub mod model_folder;
pub mod pickle;
pub mod process;
