-- The views that queries see, over the tables of schema "store" that views.py makes from files.
-- Rows of length 0 are erased samples.

CREATE VIEW samples AS SELECT * FROM store.samples WHERE length > 0;

-- An identity of whom nothing is left has this in its text's place.
CREATE VIEW identities AS
SELECT * FROM store.identities WHERE NOT starts_with(identity, 'forgotten:');

CREATE VIEW rejects AS SELECT * FROM store.rejects;

CREATE VIEW datasets AS SELECT * FROM store.datasets;

CREATE VIEW mixtures AS SELECT * FROM store.mixtures;

CREATE VIEW mixture_labeled AS SELECT * FROM store.mixture_labeled WHERE length > 0;

CREATE VIEW mixture_unlabeled AS SELECT * FROM store.mixture_unlabeled WHERE length > 0;

CREATE VIEW classes AS SELECT * FROM store.classes;

-- The protocol that everybody means by a dataset's name, pairs in its own order.
CREATE VIEW pairs AS
SELECT dataset, fold, key_a, key_b, same FROM store.protocol_pairs WHERE main;

CREATE VIEW protocol_pairs AS SELECT * FROM store.protocol_pairs;

CREATE VIEW templates AS SELECT * FROM store.templates;

CREATE VIEW template_pairs AS SELECT * FROM store.template_pairs;

CREATE VIEW searches AS SELECT * FROM store.searches;

-- Findings keep a row for an erased person or sample, with empty texts.
CREATE VIEW overlap AS
SELECT * FROM store.overlap WHERE identity_a <> '' AND identity_b <> '';

CREATE VIEW contamination AS
SELECT * FROM store.contamination WHERE identity <> '';

CREATE VIEW label_noise AS
SELECT * FROM store.label_noise AS told
WHERE "key" <> '' AND NOT EXISTS (
    SELECT 1 FROM store.samples AS erased
    WHERE erased.length = 0 AND erased.dataset = told.dataset AND erased."key" = told."key"
);

CREATE VIEW clusters AS
SELECT * FROM store.clusters AS told
WHERE "key" <> '' AND NOT EXISTS (
    SELECT 1 FROM store.samples AS erased
    WHERE erased.length = 0 AND erased.dataset = told.dataset AND erased."key" = told."key"
);

CREATE VIEW duplicates AS
SELECT * FROM store.duplicates AS told
WHERE "key" <> '' AND NOT EXISTS (
    SELECT 1 FROM store.samples AS erased
    WHERE erased.length = 0 AND erased.dataset = told.dataset AND erased."key" = told."key"
);

CREATE VIEW activations AS
SELECT * FROM store.activations AS told
WHERE "key" <> '' AND NOT EXISTS (
    SELECT 1 FROM store.samples AS erased
    WHERE erased.length = 0 AND erased.dataset = told.dataset AND erased."key" = told."key"
);
