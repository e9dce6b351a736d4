//! Why something was not done, as the API says it.

use std::sync::Arc;

use tidemill_model::{DagId, RunId};
use tidemill_scheduler::{CommandError, Refused};
use tidemill_server::error::{ApiError, ErrorCode};
use tidemill_store::StoreError;

use crate::node::Node;

pub(crate) fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}

/// What the store cannot say now, it can say later, when the disk has space again.
pub(crate) fn stored(error: StoreError) -> ApiError {
    match error {
        StoreError::Away { .. } | StoreError::Full { .. } => {
            ApiError::new(ErrorCode::Unavailable, error.to_string())
        }
        other => internal(other),
    }
}

pub(crate) fn refused(error: Refused) -> ApiError {
    match error {
        Refused::Command(error @ CommandError::UnknownDag(_)) => {
            ApiError::not_found(error.to_string())
        }
        Refused::Command(error @ (CommandError::Param(_) | CommandError::NoTask { .. })) => {
            ApiError::invalid(error.to_string())
        }
        Refused::Command(error) => ApiError::new(ErrorCode::Conflict, error.to_string()),
        Refused::Halted(error) => ApiError::new(ErrorCode::Unavailable, error.to_string()),
        Refused::Store(error) => stored(error),
    }
}

/// Why a DAG was not run, where its file is there and cannot run.
pub(crate) fn not_deployed(node: &Node, id: &DagId, error: Refused) -> ApiError {
    let complaint = || node.lock_folder().as_ref()?.complaint_about(id);
    match error {
        Refused::Command(CommandError::UnknownDag(_) | CommandError::NotDeployed(_)) => {
            match complaint() {
                Some(why) => ApiError::new(ErrorCode::Conflict, why),
                None => refused(error),
            }
        }
        other => refused(other),
    }
}

/// Why nothing more can be done about a run, where it is there and has ended.
pub(crate) async fn ended(node: &Arc<Node>, run: &RunId, error: Refused) -> ApiError {
    let Refused::Command(CommandError::NotLive(_)) = error else { return refused(error) };
    let (scheduler, id) = (node.scheduler.clone(), run.clone());
    match tokio::task::spawn_blocking(move || scheduler.run(&id)).await {
        Ok(Ok(Some(view))) => {
            let state = view.head.state.label();
            let message = format!("run {run} has ended already: {state}");
            ApiError::new(ErrorCode::Conflict, message)
        }
        _ => refused(error),
    }
}
