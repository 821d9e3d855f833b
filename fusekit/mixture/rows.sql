-- Judge every row of one dataset by the recipe's condition, in plan order: (unit, offset) names
-- a row and ascends in the files. The condition is spelled by where.py from the checked tree, never
-- the recipe's text; keys are read only where images are chosen by them.
SELECT
    unit,
    identity_index,
    length > 0 AS present,
    coalesce({where}, false) AS matches,
    CASE WHEN {keys} THEN "key" END AS "key"
FROM samples
ORDER BY unit, "offset"
