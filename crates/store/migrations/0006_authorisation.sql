-- What completes or voids a pre-authorisation names it by its authorisation number and card. Only
-- pre-authorisations are in the index: every other payment costs it nothing.
CREATE INDEX payment_authorisation ON payment (merchant, auth_code, card_digest, id) WHERE kind = 'preauth';
