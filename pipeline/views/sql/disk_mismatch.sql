-- Where an image's size and its disks disagree: one row per image, the widest difference first.
-- Only images whose size is known, and the size of every disk; an image without disks has nothing to compare.
-- Reads: image_capacity.
-- Example: select image_id, image_size_gib, disk_size_gib, difference_gib from disk_mismatch where difference_gib > 0

select
    account,
    observed_at_utc,
    image_id,
    image_name,
    region_id,
    ownership,
    image_size_gib,
    disk_size_gib,
    disk_count,
    image_size_gib - disk_size_gib as difference_gib  -- Size of the image less the sum of its disks.
from image_capacity
where
    disk_count > 0
    and unsized_disk_count = 0
    and image_size_gib <> disk_size_gib
order by
    abs(image_size_gib - disk_size_gib) desc,
    account,
    image_id
