# Writes survival_r.json: answers of R's survival package on data generated here.
#
#     apt-get install r-cran-survival        (R 4.2.2, survival 3.5-3)
#     Rscript survival_r.R > survival_r.json

suppressMessages(library(survival))
set.seed(20250117)
control <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 100)

# Rows of lists, vectors, matrices (by row) as JSON with all digits.
json <- function(x) {
  if (is.list(x) && !is.null(names(x)))
    return(paste0("{", paste0('"', names(x), '":', sapply(x, json), collapse = ","), "}"))
  if (is.list(x)) return(paste0("[", paste0(sapply(x, json), collapse = ","), "]"))
  if (is.matrix(x))
    return(paste0("[", paste0(apply(x, 1, function(r) json(as.vector(r))), collapse = ","), "]"))
  if (is.character(x)) text <- paste0('"', x, '"')
  else text <- ifelse(is.finite(x), formatC(as.numeric(x), digits = 17, format = "g", width = 1),
                      "null")
  paste0("[", paste0(text, collapse = ","), "]")
}

covariance_of <- function(fit) if (is.null(fit$naive.var)) fit$var else fit$naive.var
cox <- function(fit) {
  wald <- function(v) as.vector(coef(fit) %*% solve(v, coef(fit)))
  list(
    coef = coef(fit), covariance = covariance_of(fit), used = fit$var,
    log_likelihood = fit$loglik, wald = wald(covariance_of(fit)), robust_wald = wald(fit$var),
    score = fit$score,
    concordance = fit$concordance[c("concordant", "discordant", "tied.x", "concordance")])
}

# Recurrent events: 60 subjects in 12 worlds and 2 strata, whole times, a covariate that grows.
recurrent <- do.call(rbind, lapply(1:60, function(id) {
  world <- (id - 1) %% 12
  dose <- rnorm(1); frailty <- rnorm(1, sd = .4) + c(-.5, .5)[world %% 2 + 1]
  start <- sample(0:8, 1); exposure <- 0; rows <- NULL
  while (start < 60) {
    stop <- min(60, start + sample(1:9, 1))
    event <- as.integer(runif(1) < 1 - exp(-(stop - start) *
                        .05 * exp(.6 * dose + .25 * exposure + frailty)))
    rows <- rbind(rows, data.frame(id, world, stratum = world %% 3 %% 2, start, stop, event,
                                   dose, exposure))
    exposure <- exposure + rexp(1, 4)
    start <- stop + if (runif(1) < .1) 3 else 0
    if (runif(1) < .07) break
  }
  rows
}))
recurrent$dose <- round(recurrent$dose, 3)
recurrent$exposure <- round(recurrent$exposure, 3)

ag <- list()
for (ties in c("efron", "breslow"))
  ag[[ties]] <- cox(coxph(Surv(start, stop, event) ~ dose + exposure + cluster(id), recurrent,
                          ties = ties, control = control))
ag$worlds <- cox(coxph(Surv(start, stop, event) ~ dose + exposure + cluster(world), recurrent,
                       control = control))
ag$strata <- cox(coxph(Surv(start, stop, event) ~ dose + exposure + strata(stratum), recurrent,
                       control = control))

# Tests of proportional hazards, of the model without strata and of that with strata.
zph <- function(fit, data) {
  events <- sort(data$stop[data$event == 1])
  ranks <- function(t) sapply(t, function(s)
    (sum(events < s) + 1 + sum(events <= s)) / 2)
  result <- list()
  for (transform in c("identity", "km", "log"))
    result[[transform]] <- cox.zph(fit, transform, terms = FALSE)$table[, "chisq"]
  result$rank <- cox.zph(fit, ranks, terms = FALSE)$table[, "chisq"]
  # The test of survival before 3.0, by its formula.
  s <- residuals(fit, "schoenfeld")
  g <- ranks(as.numeric(if (is.null(rownames(s))) names(s) else rownames(s)))
  g <- g - mean(g)
  u <- as.vector(g %*% s); v <- covariance_of(fit); d <- nrow(s)
  result$average_rank <- c((v %*% u)^2 / diag(v) * d / sum(g^2), u %*% v %*% u * d / sum(g^2))
  result
}
plain <- coxph(Surv(start, stop, event) ~ dose + exposure, recurrent, control = control)
breslow <- coxph(Surv(start, stop, event) ~ dose + exposure, recurrent, control = control,
                 ties = "breslow")
strata <- coxph(Surv(start, stop, event) ~ dose + exposure + strata(stratum), recurrent,
                control = control)
ag$zph <- zph(plain, recurrent)
ag$zph_breslow <- zph(breslow, recurrent)
ag$zph_strata <- zph(strata, recurrent)

residual_list <- function(fit) list(
  martingale = residuals(fit, "martingale"), score = residuals(fit, "score"),
  schoenfeld = residuals(fit, "schoenfeld"), scaled = residuals(fit, "scaledsch"))
ag$residuals <- residual_list(plain)
ag$residuals_breslow <- residual_list(breslow)
ag$residuals_strata <- residual_list(strata)[c("martingale", "score")]

# Predicted survival of dose 1, exposure .5, at event times.
predicted <- function(fit, stratum = NULL) {
  new <- data.frame(dose = 1, exposure = .5)
  if (!is.null(stratum)) new$stratum <- stratum
  s <- summary(survfit(fit, new, conf.type = "log"), censored = FALSE)
  kept <- s$n.event > 0
  list(times = s$time[kept], hazard = s$cumhaz[kept], hazard_se = s$std.chaz[kept],
       survival = s$surv[kept], lower = s$lower[kept], upper = s$upper[kept])
}
ag$predicted <- predicted(plain)
ag$predicted_breslow <- predicted(breslow)
ag$predicted_strata <- predicted(strata, 1)

# Recurrent Nelson-Aalen.
na <- survfit(Surv(start, stop, event) ~ 1, recurrent)
kept <- na$n.event > 0
ag$hazard <- list(times = na$time[kept], hazard = na$cumhaz[kept], se = na$std.chaz[kept])

# Competing causes: 160 subjects with late entries, whole times with ties, three groups.
competing <- data.frame(id = 1:160, start = sample(0:15, 160, TRUE))
competing$group <- competing$id %% 3
competing$stratum <- competing$id %% 2
competing$x <- round(rnorm(160) + .8 * competing$group, 3)
competing$z <- round(runif(160, 0, 10), 2)
t1 <- ceiling(rexp(160, .03 * exp(.5 * competing$x)))
t2 <- ceiling(rexp(160, .02 * exp(-.1 * competing$z)))
tc <- sample(10:60, 160, TRUE)
competing$stop <- competing$start + pmin(t1, t2, tc)
competing$cause <- ifelse(t1 <= pmin(t2, tc), 1, ifelse(t2 <= tc, 2, 0))

cr <- list()
cr$cause_1 <- cox(coxph(Surv(start, stop, cause == 1) ~ x + z, competing, control = control))
cr$cause_2 <- cox(coxph(Surv(start, stop, cause == 2) ~ x + z, competing, control = control))
for (name in c("kaplan_meier", "kaplan_meier_90")) {
  level <- if (name == "kaplan_meier") .95 else .9
  s <- survfit(Surv(start, stop, cause > 0) ~ 1, competing, conf.type = "log-log",
               conf.int = level)
  kept <- s$n.event > 0
  q <- quantile(s, c(.25, .5))
  cr[[name]] <- list(
    times = s$time[kept], at_risk = s$n.risk[kept], events = s$n.event[kept],
    survival = s$surv[kept], se = summary(s)$std.err, lower = s$lower[kept],
    upper = s$upper[kept], quartile = c(q$quantile[1], q$lower[1], q$upper[1]),
    median = c(q$quantile[2], q$lower[2], q$upper[2]), hazard = s$cumhaz[kept],
    hazard_se = s$std.chaz[kept])
}
# Restricted means by group of durations from 0; the formula of survival:::survmean.
mean_of <- function(group) {
  s <- survfit(Surv(stop, cause > 0) ~ 1, competing[competing$group == group, ])
  table <- summary(s, rmean = 40)$table
  unname(table[c("rmean", "se(rmean)")])
}
cr$restricted_means_40 <- lapply(0:2, mean_of)
s <- survfit(Surv(start, stop, cause > 0) ~ 1, competing)
cr$restricted_mean_late_40 <- unname(summary(s, rmean = 40)$table[c("rmean", "se(rmean)")])

# Log-rank tests of durations from 0, and with late entries: the score test of a Cox model, which
# is the same without ties.
rank_test <- function(d) list(chi2 = d$chisq, observed = rowSums(cbind(d$obs)),
                              expected = rowSums(cbind(d$exp)))
cr$log_rank <- rank_test(survdiff(Surv(stop, cause > 0) ~ group, competing))
cr$log_rank_strata <-
  rank_test(survdiff(Surv(stop, cause > 0) ~ group + strata(stratum), competing))
competing$untied <- competing$stop + (competing$id - 80) / 1000
late <- coxph(Surv(start, untied, cause > 0) ~ factor(group), competing)
late_strata <- coxph(Surv(start, untied, cause > 0) ~ factor(group) + strata(stratum), competing)
cr$log_rank_late <- list(chi2 = late$score)
cr$log_rank_late_strata <- list(chi2 = late_strata$score)

# Aalen-Johansen, and its variance by Greenwood's recursion for matrices (Andersen and others 1993,
# 4.4.20): cov P(t) = (A' x I) cov P(t-) (A x I) + (I x P(t-)) cov dA (I x P(t-))'.
s <- survfit(Surv(start, stop, factor(cause)) ~ 1, competing, id = id)
kept <- rowSums(s$n.event[, 2:3]) > 0
cr$incidence <- list(times = s$time[kept], survival = s$pstate[kept, 1],
                     cause_1 = s$pstate[kept, 2], cause_2 = s$pstate[kept, 3])
greenwood <- function(data) {
  times <- sort(unique(data$stop[data$cause > 0]))
  p <- diag(3); v <- matrix(0, 9, 9); out <- NULL
  for (t in times) {
    n <- sum(data$start < t & data$stop >= t)
    d <- sapply(1:2, function(k) sum(data$stop == t & data$cause == k))
    a <- diag(3); a[1, ] <- c(1 - sum(d) / n, d / n)
    q <- c(1 - sum(d) / n, d / n)
    # Multinomial covariance of the first row of a; vec() stacks columns.
    w <- matrix(0, 9, 9); at <- c(1, 4, 7); w[at, at] <- (diag(q) - q %o% q) / n
    v <- kronecker(t(a), diag(3)) %*% v %*% kronecker(a, diag(3)) +
      kronecker(diag(3), p) %*% w %*% t(kronecker(diag(3), p))
    p <- p %*% a
    out <- rbind(out, c(v[4, 4], v[7, 7]))
  }
  out
}
cr$incidence$variance <- t(greenwood(competing))

# Grouped time: steps of 1 and bins of 10, as a binomial model of every step; its covariance from
# the observed information, and the sandwich by world.
bins <- c(0, 10, 20, 40, 60)
steps <- do.call(rbind, lapply(seq_len(nrow(recurrent)), function(row) {
  r <- recurrent[row, ]
  t <- (r$start + 1):r$stop
  data.frame(row, world = r$world, bin = cut(t, bins, labels = FALSE), dose = r$dose,
             exposure = r$exposure, event = as.integer(t == r$stop) * r$event)
}))
observed <- function(fit, offset, world) {
  x <- model.matrix(fit); m <- exp(predict(fit)); y <- fit$y
  e <- 1 - exp(-m); slope <- m * exp(-m) / e
  curvature <- ifelse(y == 1, slope * (m / e - 1), m)
  gradient <- ifelse(y == 1, slope, -m)
  v <- solve(t(x) %*% (x * curvature))
  list(coef = coef(fit), se = sqrt(diag(v)), log_likelihood = as.numeric(logLik(fit)),
       robust_se = sqrt(diag(v %*% crossprod(rowsum(x * gradient, world)) %*% v)))
}
glm_control <- glm.control(epsilon = 1e-14, maxit = 100)
fit <- glm(event ~ factor(bin) - 1 + dose + exposure, binomial(cloglog), steps,
           control = glm_control)
discrete <- list(within_step = observed(fit, 0, steps$world))
# The event only known to be in its bin: a row and bin is a trial, with its length as offset.
trials <- do.call(rbind, lapply(seq_len(nrow(recurrent)), function(row) {
  r <- recurrent[row, ]
  k <- which(bins[-1] > r$start & bins[-length(bins)] < r$stop)
  last <- k == max(k)
  to <- ifelse(last & r$event == 0, r$stop, bins[k + 1])
  data.frame(world = r$world, bin = k, dose = r$dose, exposure = r$exposure,
             length = to - pmax(r$start, bins[k]), event = as.integer(last) * r$event)
}))
fit <- glm(event ~ factor(bin) - 1 + dose + exposure + offset(log(length)), binomial(cloglog),
           trials, control = glm_control)
discrete$in_bin <- observed(fit, log(trials$length), trials$world)

# A natural spline is the restricted cubic spline with the same knots, in another basis.
knots <- quantile(competing$z, c(.05, .35, .65, .95))
basis <- function(z) splines::ns(z, knots = knots[2:3], Boundary.knots = knots[c(1, 4)])
fit <- coxph(Surv(start, stop, cause > 0) ~ x + basis(z), competing, control = control)
at <- c(0, 1.5, 3, 5, 8, 10)
difference <- cbind(0, basis(at) - matrix(basis(5), length(at), 3, byrow = TRUE))
linear <- coxph(Surv(start, stop, cause > 0) ~ x + z, competing, control = control)
b <- coef(fit)[2:4]; v <- fit$var[2:4, 2:4]
spline <- list(knots = knots, at = at, log_hazard_ratio = as.vector(difference %*% coef(fit)),
               se = sqrt(diag(difference %*% fit$var %*% t(difference))),
               log_likelihood = fit$loglik[2], overall = as.vector(b %*% solve(v, b)))

p <- c(.5, .8, .9, .95, .99, .999)
distributions <- list(
  level = p, normal = qnorm((1 + p) / 2), t_1 = qt((1 + p) / 2, 1), t_4 = qt((1 + p) / 2, 4),
  t_29 = qt((1 + p) / 2, 29), at = c(.1, 1, 3, 8, 30),
  normal_p = 2 * pnorm(-c(.1, 1, 3, 8, 30)), t_5_p = 2 * pt(-c(.1, 1, 3, 8, 30), 5),
  chi_1_p = pchisq(c(.1, 1, 3, 8, 30), 1, lower.tail = FALSE),
  chi_7_p = pchisq(c(.1, 1, 3, 8, 30), 7, lower.tail = FALSE),
  f_3_11_p = pf(c(.1, 1, 3, 8, 30), 3, 11, lower.tail = FALSE))

cat(json(list(
  recurrent = as.list(recurrent), competing = as.list(competing), andersen_gill = ag,
  competing_risks = cr, discrete = discrete, spline = spline, distributions = distributions)))
