//! The outside world, simulated: UnionPay and the issuers behind it
