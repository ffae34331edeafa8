//! What must every store do? One suite, run against each of them; and a throw-away PostgreSQL for tests.
//! For tests alone: nothing in the product uses it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this module is tests; it is no cfg(test) because other crates' tests use it too"
)]

mod accounts;
mod feed;
mod grants;
pub mod postgres;
pub mod races;
mod revocation;
mod trail;
pub mod upkeep;
mod usage;
mod world;

pub use world::World;

use crate::dialect::BoxFuture;

/// One thing that a store must do.
pub type Check = fn(World) -> BoxFuture<'static, ()>;

macro_rules! checks {
    ($($room:ident::$name:ident,)*) => {
        /// Every check with its name; each wants a fresh, empty store.
        pub const CHECKS: &[(&str, Check)] = &[$((stringify!($name), |world| Box::pin($room::$name(world))),)*];
    };
}

checks! {
    accounts::applications_and_keys_keep_what_they_were_given,
    accounts::a_list_of_keys_is_imported_once,
    accounts::clients_keep_what_they_were_given,
    accounts::users_are_found_however_their_address_is_written,
    accounts::sessions_live_and_end,
    accounts::a_replaced_session_ends_but_its_tokens_are_revoked_with_the_line,
    accounts::consents_grow_and_are_withdrawn,
    accounts::signing_keys_follow_each_other,
    accounts::certificates_are_known_by_fingerprint,
    accounts::what_is_taken_is_a_conflict_and_changes_nothing,
    accounts::disabled_parties_get_nothing_new,
    accounts::tenants_do_not_see_each_other,
    accounts::attempts_are_counted_before_they_are_judged,
    usage::what_gates_count_is_summed_once,
    usage::usage_is_listed_page_by_page_and_swept_when_its_period_is_over,
    grants::a_code_is_good_once,
    grants::a_refused_code_is_not_consumed,
    grants::refresh_tokens_rotate_and_a_reuse_ends_the_line,
    grants::a_lost_answer_is_given_again_within_the_window,
    grants::a_client_that_does_not_rotate_keeps_its_token,
    grants::one_of_many_simultaneous_presentations_wins,
    revocation::what_rests_on_a_revoked_target_is_dead,
    revocation::foreign_certificates_are_announced,
    revocation::a_login_after_revoking_the_user_works,
    revocation::narrowed_tokens_stay_narrowed,
    revocation::a_revoked_key_stays_revoked,
    revocation::a_statement_is_taken_once,
    revocation::what_is_unknown_is_missing,
    feed::positions_have_no_gaps_and_follow_commits,
    feed::a_snapshot_and_the_tail_make_the_state,
    feed::a_snapshot_without_tokens_and_the_tokens_make_the_whole,
    feed::a_snapshot_without_keys_and_the_keys_make_the_whole,
    feed::waiting_ends_when_something_comes,
    feed::a_lease_is_taken_only_by_who_is_up_to_date,
    trail::every_act_is_chained,
    trail::a_refused_change_leaves_no_act,
    trail::acts_and_decisions_are_found_by_whom_they_concern,
    upkeep::a_sweep_takes_small_steps_and_only_what_is_over,
    upkeep::an_export_fills_an_empty_store_alone,
}
