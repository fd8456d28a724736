-- name: known()
SELECT uri FROM published_feed;

-- name: note(uri)!
INSERT INTO published_feed (uri) VALUES (:uri) ON CONFLICT (uri) DO NOTHING;
