-- +goose Up
-- Every filter of a search, and the pairs that are asked for, read a page off
-- an index in the order of the answer. What follows the order in an index is
-- checked inside it, without a look at the table.
CREATE INDEX event_actor_time ON audit.event (actor_id, occurred_at DESC, seq DESC, action text_pattern_ops, outcome);              -- one's acts, of any kind and outcome
CREATE INDEX event_noun ON audit.event (split_part(action, '.', 1), occurred_at DESC, seq DESC, action text_pattern_ops);           -- action prefix
CREATE INDEX event_outcome ON audit.event (outcome, occurred_at DESC, seq DESC, action text_pattern_ops) WHERE outcome <> 'SUCCESS'; -- what was refused, what failed: few
CREATE INDEX event_target_type ON audit.event_target (target_type, occurred_at DESC, seq DESC);                                     -- all of a kind
DROP INDEX audit.event_actor; -- event_actor_time begins with it

-- +goose Down
CREATE INDEX event_actor ON audit.event (actor_id, occurred_at DESC, seq DESC);
DROP INDEX audit.event_target_type;
DROP INDEX audit.event_outcome;
DROP INDEX audit.event_noun;
DROP INDEX audit.event_actor_time;
