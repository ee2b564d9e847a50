//! What every engine behind the store must do, told through its public methods alone. Each case gets an
//! empty store. Another engine is added by its name, with its own way to make one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/server.rs"]
mod server;

mod batches;
mod downloads;
mod forwards;
mod limits;
mod master;
mod payments;
mod search;
mod told;
mod undoing;

use store::{Store, StoreOptions};
use tempfile::TempDir;

/// An empty store in a directory that goes away with it.
async fn sqlite() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(directory.path())).unwrap();
    (directory, store)
}

/// An empty database on the server of this test program.
async fn postgres() -> ((), Store) {
    let url = server::shared().database().await;
    ((), Store::open_url(&url, StoreOptions::new("")).unwrap())
}

macro_rules! conformance {
    ($first:ident, $second:ident: $($cases:tt)*) => {
        conformance!($first: $($cases)*);
        conformance!($second: $($cases)*);
    };
    ($engine:ident: $($module:ident { $($case:ident)* })*) => {
        mod $engine {
            $( mod $module { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (_kept, store) = crate::$engine().await;
                    crate::$module::$case(store).await;
                }
            )* } )*
        }
    };
}

conformance!(sqlite, postgres:
    payments {
        a_payment_comes_back_whole
        a_payment_without_card_comes_back_whole
        a_repeat_gets_what_stands
        one_of_many_repeats_is_journaled
        a_number_is_never_used_twice
        the_highest_trace_is_that_of_the_batch
        only_a_pending_intent_begins
        an_answer_is_kept_and_the_history_says_what_moved
        the_first_message_to_the_network_is_found
        a_late_answer_is_recorded_and_moves_nothing
        no_answer_queues_a_reversal_but_repeats_a_refund
        a_refused_request_is_journaled_once
        one_bad_operation_does_not_take_the_group_with_it
        events_of_a_payment_that_does_not_exist_are_refused
        the_network_key_finds_the_newest
        what_a_crash_left_pending_is_listed
        answers_in_any_order_end_the_same
    }
    undoing {
        one_of_many_voids_takes_hold
        a_declined_void_frees_its_original
        a_reversals_chip_data_waits_with_its_queue_item
        a_reversed_void_frees_its_original
        racing_refunds_never_exceed_the_sale
        a_declined_refund_may_be_refunded_again
        an_unknown_original_is_refused
        another_merchants_payment_is_no_original
        a_reversal_of_an_approved_sale
        a_reversal_with_another_amount_moves_nothing
        a_reversal_before_its_sale_refuses_the_sale
        a_reversal_of_a_voided_sale_undoes_nothing
        a_voided_completion_gives_its_preauth_back
        one_of_many_completions_takes_the_preauth
        a_preauth_is_found_by_its_authorisation
        a_refund_reaches_thirty_days_back
        voids_and_refunds_race_for_a_sale
    }
    forwards {
        a_line_is_served_in_order
        a_failed_item_keeps_its_place
        what_never_left_does_not_count_as_sent
        a_refused_item_goes_out_as_a_new_message
        a_parked_item_is_passed_over_and_comes_back
        order_matters_within_a_family
        what_nobody_answered_stays_the_same_message
        an_item_is_parked_by_hand
        lines_do_not_wait_for_each_other
        finishing_twice_is_harmless
        open_items_are_listed_in_pages
        what_is_not_open_cannot_be_changed
        a_parked_item_is_settled_by_hand_once
        a_known_outcome_is_not_settled_otherwise
        a_sale_that_stands_after_all_counts
    }
    told {
        what_is_told_is_approved_and_queued_in_order
        an_adjustment_changes_what_a_sale_comes_to
        an_adjustment_of_what_is_not_there_is_refused
        only_what_was_approved_is_told
        a_refused_advice_has_a_key_of_its_own
        a_tip_that_the_network_will_not_have_leaves_its_sale_as_before
        a_script_result_is_queued_once_and_its_data_goes_with_it
        a_signature_is_joined_from_its_parts
    }
    limits {
        limits_are_kept_and_move_the_version
        a_day_is_counted_and_refused_above_its_figures
        what_comes_to_nothing_is_given_back_once
        a_refusal_takes_nothing_of_any_limit
        days_that_are_over_are_forgotten
        many_at_once_never_exceed_a_limit
    }
    batches {
        totals_count_what_counts
        a_balanced_batch_ends_and_the_next_begins
        foreign_cards_count_in_a_block_of_their_own
        an_unbalanced_batch_tells_every_difference
        a_repeated_line_changes_nothing
        a_batch_settled_again_is_replaced_and_remembered
        a_batch_may_end_without_a_settlement
        an_old_batch_ended_late_does_not_turn_the_terminal_back
        lists_are_filtered_and_paged
    }
    master {
        master_data_comes_back_whole
        the_version_counts_changes_only
        a_session_survives_a_change_of_master_data
        a_new_master_key_ends_the_session_but_not_the_batch
        sign_in_keeps_the_keys_before_until_they_are_dropped
        wrong_macs_add_up_until_they_are_forgiven
        changed_sessions_are_found_in_their_order
        a_terminal_needs_its_merchant
        an_unknown_terminal_cannot_sign_in
        blocks_of_numbers_never_overlap
        the_first_vault_is_the_only_one
        a_vault_goes_over_to_its_next_master_key
        keys_are_rewrapped_only_as_they_were_read
    }
    downloads {
        a_change_of_a_list_stamps_its_scope_and_nothing_else
        a_terminal_holds_what_it_began_with
        a_demand_is_open_until_it_is_done_and_may_be_asked_again
        the_newest_status_is_kept
    }
    search {
        any_number_finds_the_payment
        a_long_list_is_listed_as_a_short_one
        every_filter_holds
        pages_follow_each_other_without_gap_or_repeat
        a_made_up_marker_is_refused
        counts_tell_what_is_open
    }
);
