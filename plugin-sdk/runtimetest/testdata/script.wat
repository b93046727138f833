;; A guest that makes the host calls its input names, for the tests of functions that JavaScript apps import.
;; script.wasm is its binary form (wat2wasm).
;;
;; Input and value are JSON strings of hex digits. The input is a list of calls:
;;   u8 function (its place in the table below), u8 slot, u8 number of arguments, arguments
;; An argument is a tag and: 0 = a number, u64; 1 = a buffer, u32 length and bytes; 2 = the buffer of a slot, u8.
;; After a call, the first 32 bytes of register 0 go to the slot, unless it is 255. There are 16 slots.
;; The value is, for each call: the result, i32 (0 without one); the length of register 0, u32; the register.
;;
;; Memory: 16 a descriptor, 1024 arguments, 1152 their descriptors, 2048 slots, 65536 the input (up to 1 MiB),
;; 1 MiB the value, 3 MiB the value in hex (up to 3 MiB).
(module
  (import "env" "input" (func $input (param i64)))
  (import "env" "register_len" (func $register_len (param i64) (result i64)))
  (import "env" "read_register" (func $read_register (param i64 i64) (result i32)))
  (import "env" "value_return" (func $value_return (param i64)))
  (import "env" "js_std_d_print" (func $js_std_d_print (param i64 i64 i64) (result i32)))
  (import "env" "js_crdt_map_new" (func $js_crdt_map_new (param i64) (result i32)))
  (import "env" "js_crdt_map_get" (func $js_crdt_map_get (param i64 i64 i64) (result i32)))
  (import "env" "js_crdt_map_insert" (func $js_crdt_map_insert (param i64 i64 i64 i64) (result i32)))
  (import "env" "js_crdt_map_remove" (func $js_crdt_map_remove (param i64 i64 i64) (result i32)))
  (import "env" "js_crdt_map_contains" (func $js_crdt_map_contains (param i64 i64) (result i32)))
  (import "env" "js_crdt_map_iter" (func $js_crdt_map_iter (param i64 i64) (result i32)))
  (import "env" "js_crdt_vector_new" (func $js_crdt_vector_new (param i64) (result i32)))
  (import "env" "js_crdt_vector_len" (func $js_crdt_vector_len (param i64 i64) (result i32)))
  (import "env" "js_crdt_vector_push" (func $js_crdt_vector_push (param i64 i64) (result i32)))
  (import "env" "js_crdt_vector_get" (func $js_crdt_vector_get (param i64 i64 i64) (result i32)))
  (import "env" "js_crdt_vector_pop" (func $js_crdt_vector_pop (param i64 i64) (result i32)))
  (import "env" "js_crdt_set_new" (func $js_crdt_set_new (param i64) (result i32)))
  (import "env" "js_crdt_set_insert" (func $js_crdt_set_insert (param i64 i64) (result i32)))
  (import "env" "js_crdt_set_contains" (func $js_crdt_set_contains (param i64 i64) (result i32)))
  (import "env" "js_crdt_set_remove" (func $js_crdt_set_remove (param i64 i64) (result i32)))
  (import "env" "js_crdt_set_len" (func $js_crdt_set_len (param i64 i64) (result i32)))
  (import "env" "js_crdt_set_iter" (func $js_crdt_set_iter (param i64 i64) (result i32)))
  (import "env" "js_crdt_set_clear" (func $js_crdt_set_clear (param i64) (result i32)))
  (import "env" "js_crdt_lww_new" (func $js_crdt_lww_new (param i64) (result i32)))
  (import "env" "js_crdt_lww_set" (func $js_crdt_lww_set (param i64 i64 i32) (result i32)))
  (import "env" "js_crdt_lww_get" (func $js_crdt_lww_get (param i64 i64) (result i32)))
  (import "env" "js_crdt_lww_timestamp" (func $js_crdt_lww_timestamp (param i64 i64) (result i32)))
  (import "env" "js_crdt_counter_new" (func $js_crdt_counter_new (param i64) (result i32)))
  (import "env" "js_crdt_counter_increment" (func $js_crdt_counter_increment (param i64) (result i32)))
  (import "env" "js_crdt_counter_value" (func $js_crdt_counter_value (param i64 i64) (result i32)))
  (import "env" "js_crdt_counter_get_executor_count" (func $js_crdt_counter_get_executor_count (param i64 i64 i32 i64) (result i32)))
  (import "env" "js_user_storage_new" (func $js_user_storage_new (param i64) (result i32)))
  (import "env" "js_user_storage_insert" (func $js_user_storage_insert (param i64 i64 i64) (result i32)))
  (import "env" "js_user_storage_get" (func $js_user_storage_get (param i64 i64) (result i32)))
  (import "env" "js_user_storage_get_for_user" (func $js_user_storage_get_for_user (param i64 i64 i64) (result i32)))
  (import "env" "js_user_storage_remove" (func $js_user_storage_remove (param i64 i64) (result i32)))
  (import "env" "js_user_storage_contains" (func $js_user_storage_contains (param i64) (result i32)))
  (import "env" "js_user_storage_contains_user" (func $js_user_storage_contains_user (param i64 i64) (result i32)))
  (import "env" "js_frozen_storage_new" (func $js_frozen_storage_new (param i64) (result i32)))
  (import "env" "js_frozen_storage_add" (func $js_frozen_storage_add (param i64 i64 i64) (result i32)))
  (import "env" "js_frozen_storage_get" (func $js_frozen_storage_get (param i64 i64 i64) (result i32)))
  (import "env" "js_frozen_storage_contains" (func $js_frozen_storage_contains (param i64 i64) (result i32)))
  (import "env" "persist_root_state" (func $persist_root_state (param i64 i64 i64)))
  (import "env" "read_root_state" (func $read_root_state (param i64) (result i32)))
  (import "env" "flush_delta" (func $flush_delta (result i32)))
  (import "env" "apply_storage_delta" (func $apply_storage_delta (param i64)))
  (import "env" "storage_read" (func $storage_read (param i64 i64) (result i32)))
  (import "env" "storage_write" (func $storage_write (param i64 i64 i64) (result i32)))
  (memory (export "memory") 128)
  (type $host_call (func (result i32)))
  (table funcref (elem
    $do_js_std_d_print $do_js_crdt_map_new $do_js_crdt_map_get
    $do_js_crdt_map_insert $do_js_crdt_map_remove $do_js_crdt_map_contains
    $do_js_crdt_map_iter $do_js_crdt_vector_new $do_js_crdt_vector_len
    $do_js_crdt_vector_push $do_js_crdt_vector_get $do_js_crdt_vector_pop
    $do_js_crdt_set_new $do_js_crdt_set_insert $do_js_crdt_set_contains
    $do_js_crdt_set_remove $do_js_crdt_set_len $do_js_crdt_set_iter
    $do_js_crdt_set_clear $do_js_crdt_lww_new $do_js_crdt_lww_set
    $do_js_crdt_lww_get $do_js_crdt_lww_timestamp $do_js_crdt_counter_new
    $do_js_crdt_counter_increment $do_js_crdt_counter_value $do_js_crdt_counter_get_executor_count
    $do_js_user_storage_new $do_js_user_storage_insert $do_js_user_storage_get
    $do_js_user_storage_get_for_user $do_js_user_storage_remove $do_js_user_storage_contains
    $do_js_user_storage_contains_user $do_js_frozen_storage_new $do_js_frozen_storage_add
    $do_js_frozen_storage_get $do_js_frozen_storage_contains $do_persist_root_state
    $do_read_root_state $do_flush_delta $do_apply_storage_delta
    $do_storage_read $do_storage_write))
  (global $pc (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))

  (func $arg (param $i i32) (result i64) (i64.load offset=1024 (i32.shl (local.get $i) (i32.const 3))))
  (func $do_js_std_d_print (type $host_call) (call $js_std_d_print (i64.const 0) (i64.load (i32.wrap_i64 (call $arg (i32.const 0)))) (i64.load offset=8 (i32.wrap_i64 (call $arg (i32.const 0))))))
  (func $do_js_crdt_map_new (type $host_call) (call $js_crdt_map_new (call $arg (i32.const 0))))
  (func $do_js_crdt_map_get (type $host_call) (call $js_crdt_map_get (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
  (func $do_js_crdt_map_insert (type $host_call) (call $js_crdt_map_insert (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2)) (call $arg (i32.const 3))))
  (func $do_js_crdt_map_remove (type $host_call) (call $js_crdt_map_remove (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
  (func $do_js_crdt_map_contains (type $host_call) (call $js_crdt_map_contains (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_map_iter (type $host_call) (call $js_crdt_map_iter (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_vector_new (type $host_call) (call $js_crdt_vector_new (call $arg (i32.const 0))))
  (func $do_js_crdt_vector_len (type $host_call) (call $js_crdt_vector_len (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_vector_push (type $host_call) (call $js_crdt_vector_push (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_vector_get (type $host_call) (call $js_crdt_vector_get (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
  (func $do_js_crdt_vector_pop (type $host_call) (call $js_crdt_vector_pop (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_set_new (type $host_call) (call $js_crdt_set_new (call $arg (i32.const 0))))
  (func $do_js_crdt_set_insert (type $host_call) (call $js_crdt_set_insert (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_set_contains (type $host_call) (call $js_crdt_set_contains (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_set_remove (type $host_call) (call $js_crdt_set_remove (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_set_len (type $host_call) (call $js_crdt_set_len (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_set_iter (type $host_call) (call $js_crdt_set_iter (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_set_clear (type $host_call) (call $js_crdt_set_clear (call $arg (i32.const 0))))
  (func $do_js_crdt_lww_new (type $host_call) (call $js_crdt_lww_new (call $arg (i32.const 0))))
  (func $do_js_crdt_lww_set (type $host_call) (call $js_crdt_lww_set (call $arg (i32.const 0)) (call $arg (i32.const 1)) (i32.wrap_i64 (call $arg (i32.const 2)))))
  (func $do_js_crdt_lww_get (type $host_call) (call $js_crdt_lww_get (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_lww_timestamp (type $host_call) (call $js_crdt_lww_timestamp (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_counter_new (type $host_call) (call $js_crdt_counter_new (call $arg (i32.const 0))))
  (func $do_js_crdt_counter_increment (type $host_call) (call $js_crdt_counter_increment (call $arg (i32.const 0))))
  (func $do_js_crdt_counter_value (type $host_call) (call $js_crdt_counter_value (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_crdt_counter_get_executor_count (type $host_call) (call $js_crdt_counter_get_executor_count (call $arg (i32.const 0)) (call $arg (i32.const 1)) (i32.wrap_i64 (call $arg (i32.const 2))) (call $arg (i32.const 3))))
  (func $do_js_user_storage_new (type $host_call) (call $js_user_storage_new (call $arg (i32.const 0))))
  (func $do_js_user_storage_insert (type $host_call) (call $js_user_storage_insert (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
  (func $do_js_user_storage_get (type $host_call) (call $js_user_storage_get (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_user_storage_get_for_user (type $host_call) (call $js_user_storage_get_for_user (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
  (func $do_js_user_storage_remove (type $host_call) (call $js_user_storage_remove (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_user_storage_contains (type $host_call) (call $js_user_storage_contains (call $arg (i32.const 0))))
  (func $do_js_user_storage_contains_user (type $host_call) (call $js_user_storage_contains_user (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_js_frozen_storage_new (type $host_call) (call $js_frozen_storage_new (call $arg (i32.const 0))))
  (func $do_js_frozen_storage_add (type $host_call) (call $js_frozen_storage_add (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
  (func $do_js_frozen_storage_get (type $host_call) (call $js_frozen_storage_get (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
  (func $do_js_frozen_storage_contains (type $host_call) (call $js_frozen_storage_contains (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_persist_root_state (type $host_call) (call $persist_root_state (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))) (i32.const 0))
  (func $do_read_root_state (type $host_call) (call $read_root_state (call $arg (i32.const 0))))
  (func $do_flush_delta (type $host_call) (call $flush_delta))
  (func $do_apply_storage_delta (type $host_call) (call $apply_storage_delta (call $arg (i32.const 0))) (i32.const 0))
  (func $do_storage_read (type $host_call) (call $storage_read (call $arg (i32.const 0)) (call $arg (i32.const 1))))
  (func $do_storage_write (type $host_call) (call $storage_write (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))

  (func $desc (param $at i32) (param $ptr i32) (param $n i32)
    (i64.store (local.get $at) (i64.extend_i32_u (local.get $ptr)))
    (i64.store offset=8 (local.get $at) (i64.extend_i32_u (local.get $n))))
  (func $u8 (result i32)
    (if (i32.ge_u (global.get $pc) (global.get $end)) (then unreachable))
    (i32.load8_u (global.get $pc))
    (global.set $pc (i32.add (global.get $pc) (i32.const 1))))
  (func $digit (param $c i32) (result i32)
    (if (result i32) (i32.ge_u (local.get $c) (i32.const 97))
      (then (i32.sub (local.get $c) (i32.const 87)))
      (else (i32.sub (local.get $c) (i32.const 48)))))
  (func $hex (param $v i32) (result i32)
    (if (result i32) (i32.ge_u (local.get $v) (i32.const 10))
      (then (i32.add (local.get $v) (i32.const 87)))
      (else (i32.add (local.get $v) (i32.const 48)))))

  ;; the input, decoded to 65536
  (func $load (local $n i32) (local $at i32) (local $to i32)
    (call $input (i64.const 0))
    (local.set $n (i32.wrap_i64 (call $register_len (i64.const 0))))
    (if (i32.gt_u (local.get $n) (i32.const 983040)) (then unreachable))
    (call $desc (i32.const 16) (i32.const 65536) (local.get $n))
    (drop (call $read_register (i64.const 0) (i64.const 16)))
    (local.set $at (i32.const 65537))
    (local.set $to (i32.const 65536))
    (block $done (loop $next
      (br_if $done (i32.ge_s (local.get $at) (i32.add (local.get $n) (i32.const 65535))))
      (i32.store8 (local.get $to) (i32.or
        (i32.shl (call $digit (i32.load8_u (local.get $at))) (i32.const 4))
        (call $digit (i32.load8_u offset=1 (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 2)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (br $next)))
    (global.set $pc (i32.const 65536))
    (global.set $end (local.get $to))
    (global.set $out (i32.const 1048576)))

  (func $argument (param $i i32) (local $tag i32) (local $desc i32) (local $n i32)
    (local.set $desc (i32.add (i32.const 1152) (i32.shl (local.get $i) (i32.const 4))))
    (local.set $tag (call $u8))
    (if (i32.eqz (local.get $tag)) (then
      (i64.store offset=1024 (i32.shl (local.get $i) (i32.const 3)) (i64.load (global.get $pc)))
      (global.set $pc (i32.add (global.get $pc) (i32.const 8)))
      return))
    (if (i32.eq (local.get $tag) (i32.const 1))
      (then
        (local.set $n (i32.load (global.get $pc)))
        (call $desc (local.get $desc) (i32.add (global.get $pc) (i32.const 4)) (local.get $n))
        (global.set $pc (i32.add (global.get $pc) (i32.add (local.get $n) (i32.const 4)))))
      (else
        (call $desc (local.get $desc) (i32.add (i32.const 2048) (i32.shl (call $u8) (i32.const 5))) (i32.const 32))))
    (i64.store offset=1024 (i32.shl (local.get $i) (i32.const 3)) (i64.extend_i32_u (local.get $desc))))

  (func $calls (local $function i32) (local $slot i32) (local $args i32) (local $i i32) (local $n i64)
    (call $load)
    (block $done (loop $next
      (br_if $done (i32.ge_u (global.get $pc) (global.get $end)))
      (local.set $function (call $u8))
      (local.set $slot (call $u8))
      (local.set $args (call $u8))
      (local.set $i (i32.const 0))
      (block $ready (loop $more
        (br_if $ready (i32.ge_u (local.get $i) (local.get $args)))
        (call $argument (local.get $i))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $more)))
      (i32.store (global.get $out) (call_indirect (type $host_call) (local.get $function)))
      (local.set $n (call $register_len (i64.const 0)))
      (i64.store32 offset=4 (global.get $out) (local.get $n))
      (global.set $out (i32.add (global.get $out) (i32.const 8)))
      (if (i64.ne (local.get $n) (i64.const -1)) (then
        (if (i64.gt_u (local.get $n) (i64.const 1048576)) (then unreachable))
        (call $desc (i32.const 16) (global.get $out) (i32.wrap_i64 (local.get $n)))
        (drop (call $read_register (i64.const 0) (i64.const 16)))
        (if (i32.ne (local.get $slot) (i32.const 255)) (then
          (memory.copy (i32.add (i32.const 2048) (i32.shl (local.get $slot) (i32.const 5))) (global.get $out) (i32.const 32))))
        (global.set $out (i32.add (global.get $out) (i32.wrap_i64 (local.get $n))))))
      (br $next))))

  (func (export "run") (local $at i32) (local $to i32)
    (call $calls)
    (local.set $at (i32.const 1048576))
    (local.set $to (i32.const 3145729))
    (i32.store8 (i32.const 3145728) (i32.const 34))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (global.get $out)))
      (i32.store8 (local.get $to) (call $hex (i32.shr_u (i32.load8_u (local.get $at)) (i32.const 4))))
      (i32.store8 offset=1 (local.get $to) (call $hex (i32.and (i32.load8_u (local.get $at)) (i32.const 15))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (br $next)))
    (i32.store8 (local.get $to) (i32.const 34))
    (i64.store (i32.const 64) (i64.const 0))
    (call $desc (i32.const 72) (i32.const 3145728) (i32.sub (local.get $to) (i32.const 3145727)))
    (call $value_return (i64.const 64)))

  ;; a context begins with an empty document
  (func (export "init")
    (call $desc (i32.const 16) (i32.const 32) (i32.const 2))
    (i32.store16 (i32.const 32) (i32.const 0x7d7b))
    (call $persist_root_state (i64.const 16) (i64.const 0) (i64.const 0))
    (drop (call $flush_delta))))
