//! What each metric means, for `/metrics`. The operations guide has the same list with its labels.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// How a metric moves.
#[derive(Clone, Copy)]
enum Shape {
    Counter,
    Gauge,
    Histogram,
}

use Shape::{Counter, Gauge, Histogram};

#[rustfmt::skip]
const METRICS: &[(&str, Shape, &str)] = &[
    ("posp_payments_total", Counter, "Payments answered, by transaction and response code."),
    ("posp_payment_seconds", Histogram, "From the authenticated request to the durable outcome."),
    ("posp_refused_total", Counter, "Requests refused by our own rules, with the sentence that the log has."),
    (
        "posp_intake_wait_seconds",
        Histogram,
        "How long new payments that found no free place (`engine.intake_max`) waited, until they had one or were refused.",
    ),
    ("posp_repeats_total", Counter, "Requests that had been here before."),
    ("posp_reversals_total", Counter, "Reversals from terminals, by the code we answered."),
    ("posp_sign_ins_total", Counter, "Sign-ins that got keys."),
    ("posp_downloads_total", Counter, "Downloads that a terminal ended, by list."),
    ("posp_terminal_locked_total", Counter, "Terminals sent to sign in after too many wrong MACs."),
    ("posp_settlements_total", Counter, "Batches compared, yes or no."),
    ("posp_batch_differences_total", Counter, "Differences found by batch-up: only_terminal, only_host, amount, card, card_class."),
    ("posp_network_no_answer_total", Counter, "Payments that the network left without an answer, or with one that does not tell the outcome (94, A0)."),
    ("posp_unexpected_answers_total", Counter, "Answers nobody waited for: late or doubled (yes), or of no request of ours (no)."),
    ("posp_line_ready", Gauge, "1 when payments can go out on the line."),
    ("posp_line_drops_total", Counter, "Times the line went down. It is built up again by itself."),
    ("posp_line_dropped_answers_total", Counter, "Answers of the network that could not be used, for example with a wrong MAC."),
    ("posp_line_bounced_total", Counter, "Messages that the network sent back unread."),
    ("posp_zone_keys_refused_total", Counter, "Key resets by the network that we refused."),
    ("posp_cut_over_refused_total", Counter, "Cut-overs whose sender or date could not be believed."),
    ("posp_line_strangers_total", Counter, "Connections to the network's listener from addresses that are not in unionpay.peers."),
    ("posp_forward_depth", Gauge, "Reversals and repeats waiting for the network."),
    ("posp_forward_done_total", Counter, "Reversals and repeats that the network acknowledged."),
    ("posp_forward_retries_total", Counter, "Attempts that were not acknowledged."),
    ("posp_forward_parked_total", Counter, "Items parked for an operator."),
    ("posp_recovered_total", Counter, "Payments that a previous run left open, taken up at the start."),
    ("posp_link_connections", Gauge, "Connections of terminals now."),
    ("posp_link_closed_total", Counter, "Connections ended, with the reason."),
    ("posp_link_refused_total", Counter, "Connections not taken at all."),
    ("posp_link_unlogged_total", Counter, "Warnings about what terminals sent that were not written."),
    ("posp_link_frames_total", Counter, "Frames from terminals."),
    ("posp_link_malformed_total", Counter, "Frames whose message could not be read (30)."),
    ("posp_link_unknown_mti_total", Counter, "Messages of a type we do not know (40)."),
    ("posp_link_refusals_total", Counter, "Messages refused before they became a payment: terminal unknown, not signed in, MAC wrong, field missing."),
    ("posp_front_requests_total", Counter, "Requests at the internet front, by the status of the answer."),
    ("posp_front_seconds", Histogram, "Time of a request at the internet front that got an answer."),
    ("posp_front_refused_total", Counter, "Connections and requests that the internet front refused, or that got no answer."),
    ("posp_front_connections", Gauge, "Connections of terminals at the internet front now."),
    ("posp_front_node_up", Gauge, "1 when the internet front gives a node requests."),
    ("posp_front_certificates_total", Counter, "Changed certificates that the internet front took over, or refused."),
    ("posp_front_unlogged_total", Counter, "Warnings of the internet front that were not written."),
    ("posp_journal_reply_lost_total", Counter, "Answers that were sent but are missing in the payment's history. The payment itself is complete."),
    ("posp_store_group_size", Histogram, "Operations that shared a commit."),
    ("posp_store_group_seconds", Histogram, "Time of such a group from its first operation to the end of its commit."),
    ("posp_store_commit_seconds", Histogram, "Time of the commit with its flush, on PostgreSQL with the statement that writes the group."),
    ("posp_store_operation_seconds", Histogram, "Time of an operation from when it is asked for until its asker goes on."),
    ("posp_store_checkpoint_seconds", Histogram, "Time of moving the log into the journal beside the writer (SQLite)."),
    ("posp_store_log_pages", Gauge, "Pages of 4 KB in the log when it was last moved (SQLite)."),
    ("posp_store_queue_depth", Gauge, "Operations waiting for the writer."),
    ("posp_store_refused_total", Counter, "Payments refused because that queue was full, or work did not come through in time."),
    ("posp_store_history_days_ahead", Gauge, "Days after today that have a partition for their history (PostgreSQL)."),
    ("posp_store_history_stray_lines", Gauge, "Lines of history found outside every day (PostgreSQL)."),
    ("posp_store_history_overdue_days", Gauge, "Days of history older than is kept that could not be dropped (PostgreSQL)."),
    ("posp_store_failed_total", Counter, "Failed commits. One ends the node."),
];

/// Gives the recorder the meaning of every metric.
pub fn describe() {
    for (name, shape, meaning) in METRICS {
        match shape {
            Counter => describe_counter!(*name, *meaning),
            Gauge => describe_gauge!(*name, *meaning),
            Histogram => describe_histogram!(*name, *meaning),
        }
    }
}
