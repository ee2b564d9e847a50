//! The field's nouns and rules, pure: money, identifiers, transactions and their state machine
