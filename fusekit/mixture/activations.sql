-- As rows.sql, with what the activation finding says of each sample; NaN or NULL: it says nothing.
SELECT
    judged.unit,
    judged.present,
    judged.matches,
    finding.activation,
    finding.cosine
FROM (
    SELECT unit, "offset", "key", length > 0 AS present, coalesce({where}, false) AS matches
    FROM samples
) AS judged
LEFT JOIN finding ON finding."key" = judged."key"
ORDER BY judged.unit, judged."offset"
