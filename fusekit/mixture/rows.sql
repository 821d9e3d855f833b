-- Judge every row of one dataset by the recipe's condition, in plan order: (unit, offset) names
-- a row and ascends in the files. The condition is spelled by where.py from the checked tree, never
-- the recipe's text; keys are read only where images are chosen by them. Beside it, what findings
-- say of the row; views of findings that no rule asks for are empty. NULL: it says nothing.
SELECT
    judged.unit,
    judged.identity_index,
    judged.present,
    judged.matches,
    CASE WHEN {keys} THEN judged."key" END AS "key",
    noise."row" AS noise,
    copies."row" AS copy,
    activations."key" IS NOT NULL AS known_of,
    activations.activation,
    activations.cosine,
    coalesce(activations.poor, false) AS poor,
    coalesce(activations.duplicate_of, original."key") AS original,
    activations.duplicate_of IS NOT NULL AS is_copy
FROM (
    SELECT
        unit, "offset", "key", identity_index, length > 0 AS present,
        coalesce({where}, false) AS matches
    FROM samples
) AS judged
LEFT JOIN noise ON noise."key" = judged."key"
LEFT JOIN copies ON copies."key" = judged."key"
-- Erased samples may share an empty key.
LEFT JOIN activations ON activations."key" = judged."key" AND activations."key" <> ''
LEFT JOIN (
    SELECT DISTINCT duplicate_of AS "key" FROM activations WHERE duplicate_of IS NOT NULL
) AS original ON original."key" = judged."key"
ORDER BY judged.unit, judged."offset"
