-- Images whose size differs from the total size of their disks: one row per image, largest difference first.
-- Only images with a size, with disks, and with a size for every disk.
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
    image_size_gib - disk_size_gib as difference_gib  -- Size of the image minus the total size of its disks.
from image_capacity
where
    disk_count > 0
    and unsized_disk_count = 0
    and image_size_gib <> disk_size_gib
order by
    abs(image_size_gib - disk_size_gib) desc,
    account,
    image_id
