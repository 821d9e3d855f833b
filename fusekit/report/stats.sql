-- What stats.py counts, over the view "rows" that it makes: one row for each stored sample, with
-- "who" its identity (-1: none) and "part" its source in a mixture (0 in a dataset).
-- Each statement is named by the line above it. Counts only: they are the same in any order, and
-- their memory grows with distinct values, not with rows.

-- name: images
SELECT images, count(*) AS identities
FROM (SELECT count(*) AS images FROM rows WHERE part IN (SELECT unnest(?)) AND who >= 0 GROUP BY who)
GROUP BY images ORDER BY images;

-- name: samples
SELECT count(*) AS samples FROM rows WHERE part IN (SELECT unnest(?));

-- name: eye_distance
SELECT CAST(round(eye_distance * 10) AS BIGINT) AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) AND isfinite(eye_distance) GROUP BY value ORDER BY value;

-- name: yaw
SELECT CAST(round(yaw * 10) AS BIGINT) AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) AND isfinite(yaw) GROUP BY value ORDER BY value;

-- name: sharpness
SELECT CAST(round(sharpness) AS BIGINT) AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) AND isfinite(sharpness) GROUP BY value ORDER BY value;

-- name: brightness
SELECT CAST(round(brightness * 10) AS BIGINT) AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) AND isfinite(brightness) GROUP BY value ORDER BY value;

-- name: jpeg_quality
SELECT CAST(jpeg_quality AS BIGINT) AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) AND jpeg_quality IS NOT NULL
GROUP BY value ORDER BY value;

-- name: det_score
SELECT CAST(round(det_score * 1000) AS BIGINT) AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) AND isfinite(det_score) GROUP BY value ORDER BY value;

-- name: split
SELECT coalesce(split, 'none') AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) GROUP BY value ORDER BY value;

-- name: media
SELECT media AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) GROUP BY value ORDER BY value;

-- name: channels
SELECT CASE channels WHEN 1 THEN 'grey' ELSE 'colour' END AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) GROUP BY value ORDER BY value;

-- name: format
SELECT format AS value, count(*) AS samples
FROM rows WHERE part IN (SELECT unnest(?)) GROUP BY value ORDER BY value;
